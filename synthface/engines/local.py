"""Work on this machine: in this process, or in several, each with one torch thread."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from synthface.shards.encode import EncodedTile

if TYPE_CHECKING:
    from synthface.engines import Chunk
    from synthface.job import Job

#: What a worker does with its job and one item; a function that other processes find by name.
Work: TypeAlias = "Callable[[Job, Any], Any]"
Runner: TypeAlias = "Callable[[Work, Iterable[Any]], Iterator[Any]]"

#: Chunks under way per worker: one being worked on, one waiting.
_AHEAD = 2


@contextlib.contextmanager
def own_chunks(job: Job, chunks: Sequence[Chunk], workers: int) -> Iterator[Iterator[EncodedTile]]:
    """One after another, in this process."""
    with single_threaded():
        yield (_encode(job, chunk) for chunk in chunks)


@contextlib.contextmanager
def process_chunks(job: Job, chunks: Sequence[Chunk], workers: int) -> Iterator[Iterator[EncodedTile]]:
    """In `workers` processes; results come in the order of `chunks`."""
    with in_processes(job, workers) as run:
        yield run(_encode, chunks)


@contextlib.contextmanager
def in_processes(job: Job, workers: int) -> Iterator[Runner]:
    """`run(work, items)` gives `work(job, item)` of each item, in order, from `workers` processes; from this one if 1."""
    if workers == 1:
        with single_threaded():
            yield lambda work, items: (work(job, item) for item in items)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(job, os.getpid())
    )
    try:
        yield lambda work, items: _in_order(pool, work, items, workers * _AHEAD)
    except BaseException:
        # Don't wait for work whose result nobody takes.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, work: Work, items: Iterable[Any], ahead: int) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(_on_job, work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


_job: Job


def _start_worker(job: Job, parent: int) -> None:
    global _job
    _job = job
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    _one_thread()


def _die_with(parent: int) -> None:
    """A killed parent can't tell its workers: they look."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _on_job(work: Work, item: Any) -> Any:
    return work(_job, item)


def _encode(job: Job, chunk: Chunk) -> EncodedTile:
    from synthface.tiles import encode_rows

    return encode_rows(job, *chunk)


def _one_thread() -> None:
    """Sums are then always added in the same order: pixels don't depend on the number of cores."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """`_one_thread`, undone afterwards."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    _one_thread()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
