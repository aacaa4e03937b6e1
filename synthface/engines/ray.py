"""Work on an existing Ray cluster: actors that each hold a generator; results in order, a bounded number under way."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from synthface.errors import MissingExtraError
from synthface.shards.encode import EncodedTile

if TYPE_CHECKING:
    from synthface.engines import Chunk
    from synthface.job import Job


@contextlib.contextmanager
def ray_chunks(job: Job, chunks: Sequence[Chunk], workers: int) -> Iterator[Iterator[EncodedTile]]:
    """On `workers` actors; a lost actor is started again and its chunk repeated: chunks are pure.

    Raises:
        MissingExtraError: Ray isn't installed.
    """
    try:
        import ray
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtraError("ray", "ray", "the engine `ray`") from error
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    on_gpu = job.device.startswith("cuda")
    remote = ray.remote(num_cpus=1, num_gpus=1 if on_gpu else 0, max_restarts=3, max_task_retries=3)(_Actor)
    actors = [remote.remote(job) for _ in range(max(1, workers))]
    try:
        yield _in_order(ray, actors, chunks)
    finally:
        for actor in actors:
            ray.kill(actor)


def _in_order(ray: Any, actors: Sequence[Any], chunks: Sequence[Chunk]) -> Iterator[EncodedTile]:
    waiting: deque[Any] = deque()
    for number, chunk in enumerate(chunks):
        waiting.append(actors[number % len(actors)].encode.remote(chunk))
        if len(waiting) >= 2 * len(actors):
            yield ray.get(waiting.popleft())
    while waiting:
        yield ray.get(waiting.popleft())


class _Actor:
    def __init__(self, job: Job) -> None:
        from synthface.engines.local import _one_thread

        self._job = job
        _one_thread()

    def encode(self, chunk: Chunk) -> EncodedTile:
        from synthface.tiles import encode_rows

        return encode_rows(self._job, *chunk)
