"""The manifest: written last, it makes a dataset finished; and `verify`, which holds the bytes against it.

data/{split}-{shard}.tar      samples                      manifest.json      what is here, with hashes
labels/{split}-{shard}.parquet their labels                 labels.parquet     the same, joined
markers/{split}-{shard}.json  shard is whole               identities.parquet who the images show
pairs/{name}.csv              verification lists           spec.yaml          as given
data/{split}.wids.json        index for wids               spec.resolved.yaml every default filled in
README.md, croissant.json     cards                        run.json           when and where; not hashed
"""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import synthface
from synthface.columns import Column, SampleFile
from synthface.errors import DatasetError
from synthface.seeding import SCHEME
from synthface.shards.labels import IN_THIS_THREAD, values_of
from synthface.shards.labels import columns_of as declared_columns
from synthface.shards.writer import FileRecord, ShardMarker, marker_name, sha256_of_stream
from synthface.storage import Store, open_store, read_json

FORMAT = "synthface-dataset-1"
MANIFEST = "manifest.json"


def versions() -> dict[str, str]:
    """What the dataset was made with."""
    from importlib.metadata import version

    packages = ("numpy", "scipy", "torch", "pillow", "pyarrow", "webdataset")
    return {
        "synthface": synthface.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "random_scheme": SCHEME,
        **{name: version(name) for name in packages},
    }


def make_manifest(
    *,
    name: str,
    spec_digest: str,
    markers: Sequence[ShardMarker],
    files: Sequence[FileRecord],
    columns: Sequence[Column],
    sample_files: Sequence[SampleFile],
    generator: Mapping[str, Any],
    counts: Mapping[str, Any],
    part_names: Sequence[str],
    quality: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest of a dataset all of whose shards are committed.

    Args:
        name: the spec's.
        spec_digest: of the resolved spec.
        markers: of every shard, in order.
        files: everything else that is hashed.
        columns, sample_files: what is in every sample.
        generator: what it says of itself.
        counts: images, identities, images per split and condition, identities per split.
        part_names: what the numbers of the part segmentation mean.
        quality: what the dataset promises of itself and what it lacks of that, where the spec asks for anything.
    """
    return {
        "format": FORMAT,
        "name": name,
        "spec_sha256": spec_digest,
        "counts": dict(counts),
        "generator": dict(generator),
        "fingerprint": dict(markers[0].fingerprint),
        "versions": versions(),
        "shards": [
            {k: v for k, v in marker.to_dict().items() if k != "fingerprint"} | {"count": marker.count}
            for marker in markers
        ],
        "files": [asdict(record) for record in files],
        "columns": [asdict(column) | {"origin": column.origin.value} for column in columns],
        "sample_files": [_described(file) for file in sample_files],
        "part_names": list(part_names),
        **({"quality": dict(quality)} if quality else {}),
    }


def _described(file: SampleFile) -> dict[str, Any]:
    """A file of every sample; the names of its classes only where it has any."""
    described = asdict(file) | {"origin": file.origin.value}
    return described if file.names else {key: value for key, value in described.items() if key != "names"}


def write_manifest(store: Store, manifest: Mapping[str, Any]) -> None:
    """Commit the manifest: from here on the dataset is finished."""
    store.write(MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def read_manifest(store: Store) -> dict[str, Any]:
    """The manifest of a finished dataset.

    Raises:
        DatasetError: there is none, or it is of another format.
    """
    try:
        manifest = read_json(store, MANIFEST)
    except FileNotFoundError as error:
        finished = len(store.names("markers/"))
        if finished:
            raise DatasetError(
                f"{store.url}: not finished: {finished} shards are committed, but there is no {MANIFEST}; "
                "run the same `synthface render` again, it goes on where it stopped"
            ) from error
        raise DatasetError(f"{store.url}: no {MANIFEST} there: not a dataset that synthface wrote") from error
    if manifest.get("format") != FORMAT:
        raise DatasetError(
            f"{store.url}/{MANIFEST}: format is {manifest.get('format')!r}, this version reads {FORMAT!r}; "
            "read it with the version of synthface that wrote it"
        )
    return manifest


# ------------------------------------------------------------------------------------------------------------ verify


@dataclass(frozen=True)
class VerifyProblem:
    """One thing wrong with a dataset: which file, and what to do."""

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass
class VerifyReport:
    """What `verify` found; sound when `problems` is empty."""

    url: str
    num_images: int = 0
    num_shards: int = 0
    num_bytes: int = 0
    problems: list[VerifyProblem] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def add(self, file: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(VerifyProblem(file, message))


_AGAIN = "delete it and its marker {marker} and run the same `synthface render` again: only this shard is made anew"


def verify(
    dataset: str | Path, *, contents: bool = True, on_shard: Callable[[int, int], None] = lambda done, total: None
) -> VerifyReport:
    """Hold a dataset against its manifest.

    Checks sizes and SHA-256 of every file, missing and extra files, counts; with `contents` also that every tar reads
    to its end, keys are unique and in order, images decode to the size they should have, each label JSON equals its
    Parquet row, pair lists name samples that exist, and no identity is in two splits.

    Args:
        dataset: folder or URL.
        contents: look inside the shards, too.
        on_shard: told (done, total) after each.

    Raises:
        DatasetError: there is no finished dataset.
    """
    store = open_store(dataset)
    manifest = read_manifest(store)
    report = VerifyReport(store.url)
    expected = {MANIFEST, "run.json"}
    for record in manifest["files"]:
        expected.add(record["name"])
        _check_file(store, record, "run the same `synthface render` again to make it anew", report)
    splits_of: dict[int, str] = {}
    for done, shard in enumerate(manifest["shards"], start=1):
        advice = _AGAIN.format(marker=marker_name(shard["shard"]))
        expected |= {shard["tar"]["name"], shard["labels"]["name"], marker_name(shard["shard"])}
        is_whole = _check_file(store, shard["tar"], advice, report) & _check_file(
            store, shard["labels"], advice, report
        )
        if store.size(marker_name(shard["shard"])) is None:
            report.add(marker_name(shard["shard"]), "missing; run the same `synthface render` again")
        if is_whole and contents:
            _check_contents(store, manifest, shard, splits_of, report)
        report.num_images += shard["count"]
        report.num_shards += 1
        report.num_bytes += shard["tar"]["bytes"]
        on_shard(done, len(manifest["shards"]))
    if report.num_images != manifest["counts"]["images"]:
        report.add(MANIFEST, f"says {manifest['counts']['images']} images, its shards hold {report.num_images}")
    for name in store.names():
        if name not in expected:
            report.add(name, "isn't in the manifest; remove it, or leave it if it is yours")
    if contents:
        _check_pairs(store, manifest, report)
    return report


def _check_file(store: Store, record: Mapping[str, Any], advice: str, report: VerifyReport) -> bool:
    """Whether a file has its size and hash."""
    size = store.size(record["name"])
    if size is None:
        report.add(record["name"], f"missing; {advice}")
        return False
    if size != record["bytes"]:
        report.add(record["name"], f"has {size} bytes, the manifest says {record['bytes']}; {advice}")
        return False
    with store.open(record["name"]) as file:
        found = sha256_of_stream(file)
    if found != record["sha256"]:
        report.add(record["name"], f"SHA-256 is {found[:16]}…, the manifest says {record['sha256'][:16]}…; {advice}")
        return False
    return True


def iterate_tar(content: io.BufferedIOBase | Any) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, files) of each sample of an open tar, in order."""
    key = ""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=content, mode="r|") as archive:
        for member in archive:
            name, _, extension = member.name.partition(".")
            if name != key and files:
                yield key, files
                files = {}
            handle = archive.extractfile(member)
            key = name
            files[extension] = handle.read() if handle else b""
    if files:
        yield key, files


def _check_contents(
    store: Store, manifest: Mapping[str, Any], shard: Mapping[str, Any], splits_of: dict[int, str], report: VerifyReport
) -> None:
    """Samples against labels, one shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with store.open(shard["labels"]["name"]) as file:
        table = pq.read_table(pa.PythonFile(file, mode="r"), **IN_THIS_THREAD)
    columns = declared_columns(table.schema)
    frame = {column.name: values_of(table.column(column.name), column) for column in columns}
    name, number, previous = shard["tar"]["name"], 0, ""
    size_px = manifest["fingerprint"].get("image_size_px")
    extensions = {file["extension"] for file in manifest["sample_files"]} | {"json", "cls"}
    with store.open(name) as tar:
        for key, files in iterate_tar(tar):
            if key <= previous or number >= table.num_rows:
                report.add(name, f"sample {key} is out of order or one too many")
                break
            previous = key
            problem = _sample_problem(key, files, extensions, columns, frame, number, size_px)
            if problem:
                report.add(name, f"sample {key}: {problem}")
            number += 1
    if number != shard["count"]:
        report.add(name, f"holds {number} samples, the manifest says {shard['count']}")
    for identity in np.unique(frame["identity"]):
        if splits_of.setdefault(int(identity), shard["split"]) != shard["split"]:
            report.add(name, f"identity {identity} is also in split {splits_of[int(identity)]}")


def _sample_problem(
    key: str,
    files: Mapping[str, bytes],
    extensions: set[str],
    columns: Sequence[Column],
    frame: Mapping[str, Any],
    number: int,
    size_px: int | None,
) -> str | None:
    from PIL import Image, UnidentifiedImageError

    if set(files) != extensions:
        return f"has {sorted(files)}, should have {sorted(extensions)}"
    labels = json.loads(files["json"])
    if frame["key"][number] != key or labels["key"] != key:
        return f"its label row is called {frame['key'][number]!r}"
    for column in columns:
        if not np.array_equal(np.asarray(labels[column.name], dtype=_NUMPY[column.dtype]), frame[column.name][number]):
            return f"label {column.name} is {labels[column.name]!r} in the JSON and {frame[column.name][number]!r} in the table"
    if files["cls"].decode() != str(labels["identity"]):
        return f"cls says {files['cls'].decode()}, the labels say identity {labels['identity']}"
    picture = next(extension for extension in ("jpg", "png") if extension in files)
    try:
        with Image.open(io.BytesIO(files[picture])) as image:
            image.load()
            if size_px and image.size != (size_px, size_px):
                return f"its picture is {image.size[0]} × {image.size[1]} px, should be {size_px} × {size_px}"
    except (UnidentifiedImageError, OSError) as error:
        return f"its picture doesn't decode ({error})"
    return None


_NUMPY = {
    "string": object,
    "bool": np.bool_,
    "float32": np.float32,
    "int64": np.int64,
    "int32": np.int32,
    "uint8": np.uint8,
}


def _check_pairs(store: Store, manifest: Mapping[str, Any], report: VerifyReport) -> None:
    """Pair lists name samples that exist, and `same` is what the identities say."""
    damaged = {problem.file for problem in report.problems}
    names = [record["name"] for record in manifest["files"] if record["name"].startswith("pairs/")]
    lists = [name for name in names if name not in damaged]
    if not lists or "labels.parquet" in damaged:
        return
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    with store.open("labels.parquet") as file:
        table = pq.read_table(pa.PythonFile(file, mode="r"), columns=["key", "identity"], **IN_THIS_THREAD)
    identity = dict(zip(table.column("key").to_pylist(), table.column("identity").to_pylist(), strict=True))
    for name in lists:
        pairs = pd.read_csv(io.BytesIO(store.read(name)), dtype={"key_a": str, "key_b": str})
        unknown = [key for key in (*pairs.key_a, *pairs.key_b) if key not in identity]
        if unknown:
            report.add(name, f"names {len(unknown)} samples that don't exist, {unknown[0]} the first")
            continue
        same = np.array([identity[a] == identity[b] for a, b in zip(pairs.key_a, pairs.key_b, strict=True)])
        wrong = Counter((same != pairs.same.astype(bool)).tolist())[True]
        if wrong:
            report.add(name, f"{wrong} pairs have the wrong `same`")
