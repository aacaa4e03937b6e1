"""The whole flow: load → plan → identities → sample → generate → annotate → encode → write → commit.

`render` writes a dataset; `samples` yields the same samples without writing anything. Both go through `tiles.pictures`,
so that what is looked at is what would be written.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synthface.columns import Column
from synthface.job import Job, SpecSource, prepare
from synthface.shards.encode import EncodedTile, JpegBackend
from synthface.shards.writer import is_finished, write_shard
from synthface.storage import Store, open_store
from synthface.tiles import Picture, chunks_of, pictures


@dataclass(frozen=True)
class Progress:
    """How far a run is: images (or what else) done and to do in this run, and seconds since it began."""

    done: int
    total: int
    seconds: float
    what: str = "images"


@dataclass(frozen=True)
class RenderSummary:
    """What a run did.

    Args:
        out: where.
        num_images: rendered by this run.
        num_already_there: that earlier runs had committed.
        is_finished: whether the whole dataset is now there, manifest included.
        num_missing_shards: shards that other parts still have to render.
        seconds: taken.
        bytes: written into shards by this run.
        shortfalls: what the spec asks for and couldn't be had, in words.
    """

    out: str
    num_images: int
    num_already_there: int
    is_finished: bool
    num_missing_shards: int
    seconds: float
    bytes: int
    shortfalls: tuple[str, ...] = ()


def render(
    spec: SpecSource,
    out: str | Path,
    *,
    generator: str | None = None,
    device: str = "cpu",
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    engine: Literal["local", "ray"] = "local",
    jpeg: JpegBackend = "pillow",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> RenderSummary:
    """Write a dataset, or go on where an earlier run stopped.

    The bytes below `data/` and `labels/` depend on the spec, the generator and the versions in the manifest; not on
    `workers`, `part`, `engine`, or on how often a run was killed.

    Args:
        spec: a path, YAML text, a mapping or a `Spec`.
        out: a folder, or a URL that fsspec knows.
        generator: instead of the spec's own.
        device: where the generator runs: `cpu`, `cuda`, `cuda:1`.
        workers: processes that sample, generate, annotate and encode; 1 does it in this one.
        part: (i, n): only every n-th shard, from the i-th; the last part to finish completes the dataset.
        engine: `local` processes, or an existing `ray` cluster.
        jpeg: the encoder; its name and version go into the manifest.
        on_progress: told after every few images.

    Returns:
        What was done.

    Raises:
        SpecError: the spec is wrong; nothing has been written then.
        IdentityError: no identities are as the spec wants them.
        OutputMismatchError: `out` holds the dataset of another spec.
        OutputBusyError, OutputSpaceError, OutputError: writing isn't possible; what was committed stays.
    """
    from synthface.engines import encoded_chunks
    from synthface.finish import finish
    from synthface.identity_stage import commit_identities

    began = time.monotonic()
    job = prepare(spec, generator=generator, device=device, jpeg=jpeg)
    _check_feasible(job)
    store = open_store(out, create=True)
    job, identities_sha256 = commit_identities(store, job, workers=workers, on_progress=on_progress)
    _check_feasible(job)
    fingerprint = job.fingerprint(identities_sha256)
    mine = list(job.plan.shards)[part[0] - 1 :: part[1]]
    todo = [shard for shard in mine if not is_finished(store, shard, fingerprint)]
    total, done, written = sum(shard.count for shard in todo), 0, 0
    on_progress(Progress(0, total, 0.0))

    def counted(tiles: Iterator[EncodedTile]) -> Iterator[EncodedTile]:
        nonlocal done
        for tile in tiles:
            yield tile
            done += len(tile) + tile.num_dropped
            on_progress(Progress(done, total, time.monotonic() - began))

    with encoded_chunks(
        job, [chunk for shard in todo for chunk in chunks_of(job, shard.start, shard.stop)], workers, engine
    ) as encoded:
        for shard in todo:
            tiles = (next(encoded) for _ in chunks_of(job, shard.start, shard.stop))
            marker = write_shard(store, shard, counted(tiles), job.columns, fingerprint)
            written += marker.tar.bytes + marker.labels.bytes
    missing = finish(store, job, fingerprint)
    summary = RenderSummary(
        out=store.url,
        num_images=total,
        num_already_there=sum(shard.count for shard in mine) - total,
        is_finished=missing == 0,
        num_missing_shards=missing,
        seconds=time.monotonic() - began,
        bytes=written,
        shortfalls=_shortfalls(store, job, missing == 0),
    )
    if total:
        store.write("run.json", _run_record(summary, workers, part, engine))
    return summary


def samples(
    spec: SpecSource, *, generator: str | None = None, device: str = "cpu", start: int = 0, stop: int | None = None
) -> Iterator[dict[str, Any]]:
    """A dataset's samples one by one, without writing anything: dicts as `open_dataset` gives them.

    Args:
        spec, generator, device: as for `render`.
        start, stop: which rows; `start` is rounded down to the beginning of a tile, as pixels are made in whole tiles.

    Identities that must be apart or balanced are chosen first, all of them.

    Yields:
        `key`, `image` (uint8, H × W × 3, before it is encoded), `identity`, `labels`, and the annotations as bytes.
    """
    from synthface.identity_stage import choose_for, chosen_job

    job = prepare(spec, generator=generator, device=device)
    job = chosen_job(job, choose_for(job))
    last = job.plan.num_images if stop is None else min(stop, job.plan.num_images)
    for shard in job.plan.shards:
        low, high = max(start, shard.start), min(last, shard.stop)
        if low >= high:
            continue
        aligned = shard.start + (low - shard.start) // job.info.tile_size * job.info.tile_size
        for begin, end in chunks_of(job, aligned, shard.stop if high == shard.stop else high):
            for part in pictures(job, begin, end):
                yield from _decoded(part, job.columns, low)


def _decoded(part: Picture, columns: Sequence[Column], low: int) -> Iterator[dict[str, Any]]:
    for number, index in enumerate(part.samples.rows.index.tolist()):
        if index >= low:
            labels = {c.name: part.columns[c.name][number] for c in columns}
            plain = {name: v.tolist() if isinstance(v, (np.ndarray, np.generic)) else v for name, v in labels.items()}
            extra = {extension: made[number] for extension, made in part.files.items()}
            yield {
                "key": plain["key"],
                "image": part.images[number],
                "identity": plain["identity"],
                "labels": plain,
                **extra,
            }


def _run_record(summary: RenderSummary, workers: int, part: tuple[int, int], engine: str) -> bytes:
    """When, where and how the last run went: kept apart from all that is hashed, as it is never the same twice."""
    ended = datetime.now(timezone.utc).isoformat(timespec="seconds")
    how = {"ended": ended, "host": socket.gethostname(), "workers": workers, "part": list(part), "engine": engine}
    return (json.dumps(asdict(summary) | how, indent=1, sort_keys=True) + "\n").encode()


def _shortfalls(store: Store, job: Job, is_finished: bool) -> tuple[str, ...]:
    """What was asked for and isn't there: identities, and once the dataset is finished, pictures and pairs."""
    from synthface.manifest import read_manifest
    from synthface.quality.choice import shortfall
    from synthface.quality.summary import audit_shortfalls

    found = [shortfall(job.chosen.report)] if job.chosen is not None else []
    if is_finished and job.spec.quality.audit is not None:
        found += audit_shortfalls(read_manifest(store)["quality"])
    return tuple(text for text in found if text is not None)


def _check_feasible(job: Job) -> None:
    """What can only fail at the end is tried at the beginning."""
    from synthface.pairs import pair_lists

    for _ in pair_lists(job.plan):
        pass
    if job.spec.quality.audit is not None:
        _ = job.estimator
