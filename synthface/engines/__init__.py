"""Who does the work: this process, several on this machine, or a Ray cluster. The bytes are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from synthface.shards.encode import EncodedTile

if TYPE_CHECKING:
    from synthface.job import Job

Chunk = tuple[int, int]


@contextlib.contextmanager
def encoded_chunks(job: Job, chunks: Sequence[Chunk], workers: int, engine: str) -> Iterator[Iterator[EncodedTile]]:
    """The encoded rows of each chunk, in order; a bounded number is under way at any time.

    Args:
        job: what to do.
        chunks: (start, stop) rows, each beginning a tile.
        workers: processes, or Ray actors.
        engine: `local` or `ray`.
    """
    if engine == "ray":
        from synthface.engines.ray import ray_chunks as run
    elif workers > 1 and len(chunks) > 1:
        from synthface.engines.local import process_chunks as run
    else:
        from synthface.engines.local import own_chunks as run
    with run(job, chunks, workers) as encoded:
        yield encoded
