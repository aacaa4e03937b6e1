"""One shard, from samples to committed files: the tar, its label table, and the marker that says they are whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from synthface.columns import Column
from synthface.errors import OutputMismatchError
from synthface.plan import ShardPlan
from synthface.shards.encode import EncodedTile, label_json
from synthface.shards.labels import LabelWriter
from synthface.storage import Store, explained, read_json


@dataclass(frozen=True)
class FileRecord:
    """A committed file: name below the dataset's root, size and SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardMarker:
    """What a finished shard says of itself; written last, so its presence means that the shard is whole.

    Args:
        shard: name without ending.
        split: its split.
        number: its number within the split.
        start, stop: rows of the dataset, `stop` exclusive.
        first_key, last_key: names of its first and last sample.
        tar, labels: its two files.
        fingerprint: what decided its content: spec, generator, identities, encoder.
        dropped: how many of its rows were left out.
    """

    shard: str
    split: str
    number: int
    start: int
    stop: int
    first_key: str
    last_key: str
    tar: FileRecord
    labels: FileRecord
    fingerprint: Mapping[str, Any]
    dropped: int = 0

    @property
    def count(self) -> int:
        """Number of samples."""
        return self.stop - self.start - self.dropped

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> ShardMarker:
        """The marker that `to_json` wrote."""
        return ShardMarker(
            **{**content, "tar": FileRecord(**content["tar"]), "labels": FileRecord(**content["labels"])}
        )

    def to_json(self) -> bytes:
        """Canonical JSON."""
        return (json.dumps(self.to_dict(), indent=1, sort_keys=True) + "\n").encode()

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `dropped` where something was."""
        words = asdict(self)
        return words if self.dropped else {key: value for key, value in words.items() if key != "dropped"}


def tar_name(shard: str) -> str:
    """Where a shard's samples are."""
    return f"data/{shard}.tar"


def labels_name(shard: str) -> str:
    """Where a shard's label table is."""
    return f"labels/{shard}.parquet"


def marker_name(shard: str) -> str:
    """Where a shard's marker is."""
    return f"markers/{shard}.json"


def write_shard(
    store: Store,
    shard: ShardPlan,
    tiles: Iterable[EncodedTile],
    columns: Sequence[Column],
    fingerprint: Mapping[str, Any],
) -> ShardMarker:
    """Write and commit one shard, streaming: the tar, the labels, then the marker.

    Args:
        store: where to.
        shard: which rows.
        tiles: their samples, in order.
        columns: all label columns.
        fingerprint: what decides the content; a run with another refuses to mix with this one.

    Raises:
        OutputBusyError: another process writes the same shard.
        OutputSpaceError: the disk is full. Nothing of this shard is committed then, and nothing committed is lost.
    """
    with store.lock(f"shard-{shard.name}"), store.staging() as folder, explained(f"{store.url}, shard {shard.name}"):
        tar, table = folder / "data.tar", folder / "labels.parquet"
        first, last, count, dropped, digest = _write_files(tar, table, tiles, columns)
        assert count + dropped == shard.count, (shard, count, dropped)
        marker = ShardMarker(
            shard=shard.name,
            split=shard.split,
            number=shard.number,
            start=shard.start,
            stop=shard.stop,
            first_key=first,
            last_key=last,
            tar=FileRecord(tar_name(shard.name), tar.stat().st_size, digest),
            labels=FileRecord(labels_name(shard.name), table.stat().st_size, sha256_of(table)),
            fingerprint=fingerprint,
            dropped=dropped,
        )
        store.commit(tar, marker.tar.name)
        store.commit(table, marker.labels.name)
        store.write(marker_name(shard.name), marker.to_json())
    return marker


def _write_files(
    tar: Path, table: Path, tiles: Iterable[EncodedTile], columns: Sequence[Column]
) -> tuple[str, str, int, int, str]:
    """First key, last key, samples, dropped samples, SHA-256 of the tar."""
    from webdataset import TarWriter

    first, last, count, dropped = "", "", 0, 0
    labels, hashing = LabelWriter(table, columns), _Hashing()
    finished = False
    try:
        with tar.open("wb") as file:
            hashing.begin(file)
            # A fixed time, owner and mode: the bytes depend on the content alone.
            archive = TarWriter(hashing, user="synthface", group="synthface", mode=0o644, mtime=0, encoder=False)
            for tile in tiles:
                dropped += tile.num_dropped
                if not len(tile):
                    continue
                texts = label_json(columns, tile.columns)
                classes = tile.columns["identity"].tolist()
                for key, files, text, identity in zip(tile.keys, tile.files, texts, classes, strict=True):
                    assert "." not in key and key[:1] not in "_.", key
                    archive.write({"__key__": key, "cls": b"%d" % identity, "json": text, **files})
                labels.add(tile.columns, len(tile))
                first, last, count = first or tile.keys[0], tile.keys[-1], count + len(tile)
            archive.close()
        labels.close()
        finished = True
    finally:
        if not finished:
            hashing.abandon()
            labels.abandon()
    return first, last, count, dropped, hashing.hexdigest()


class _Hashing:
    """A file that hashes what passes through it."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._has_failed = False

    def begin(self, file: IO[bytes]) -> None:
        """Pass on to this file."""
        self._file = file

    def abandon(self) -> None:
        """Pass nothing on any more: an archive that is thrown away writes its end."""
        self._has_failed = True

    def write(self, chunk: bytes) -> int:
        if self._has_failed:  # tarfile tries once more when it is thrown away
            return len(chunk)
        try:
            self._pass_on(chunk)
        except OSError:
            self._has_failed = True
            raise
        self._sha.update(chunk)
        return len(chunk)

    def _pass_on(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        pass

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a local file."""
    with path.open("rb") as file:
        return sha256_of_stream(file)


def sha256_of_stream(file: IO[bytes]) -> str:
    """SHA-256 of an open file, to its end."""
    sha = hashlib.sha256()
    while chunk := file.read(1 << 20):
        sha.update(chunk)
    return sha.hexdigest()


def read_marker(store: Store, shard: str) -> ShardMarker | None:
    """A shard's marker, or None where it isn't finished.

    Raises:
        CorruptDatasetError: the marker is damaged.
    """
    try:
        return ShardMarker.from_dict(read_json(store, marker_name(shard)))
    except FileNotFoundError:
        return None


def is_finished(store: Store, shard: ShardPlan, fingerprint: Mapping[str, Any]) -> bool:
    """Whether a shard is committed with this fingerprint, and its files still have their sizes.

    Raises:
        OutputMismatchError: it was made from another spec, generator or encoder.
    """
    marker = read_marker(store, shard.name)
    if marker is None:
        return False
    check_fingerprint(store.url, shard.name, marker.fingerprint, fingerprint)
    same_rows = (marker.start, marker.stop) == (shard.start, shard.stop)
    return same_rows and all(store.size(record.name) == record.bytes for record in (marker.tar, marker.labels))


def check_fingerprint(url: str, shard: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to mix two datasets in one folder."""
    if dict(theirs) == dict(ours):
        return
    differing = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    key = differing[0]
    raise OutputMismatchError(
        f"{url}: holds the dataset of another run: its shard {shard} has {key} {theirs.get(key)!r}, this run {ours.get(key)!r}"
        f"{f' (and {len(differing) - 1} more differ)' if len(differing) > 1 else ''}; "
        "give another --out, or delete that folder if it is no longer wanted"
    )
