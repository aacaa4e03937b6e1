"""Chunks of photos through `Preparer`, in this process or in several; each chunk is committed as a part."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synthface.errors import PhotoError
from synthface.storage import explained
from training.photos.detector import load_detector
from training.photos.one import Preparer
from training.photos.parts import write_part
from training.photos.quality import PrepareRecipe

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setup:
    """What every chunk needs: the folder of photos, the bounds, the detector's name, whether landmarks are given."""

    folder: Path
    recipe: PrepareRecipe
    detector: str | None
    is_given: bool

    def preparer(self) -> Preparer:
        """It, with its networks loaded."""
        return Preparer(self.recipe, load_detector(self.detector) if self.detector else None, self.is_given)


@dataclass(frozen=True)
class Chunk:
    """Photos first, first + 1, … of the sorted list, their landmarks where given, and where the outcome goes."""

    first: int
    sources: tuple[str, ...]
    given: tuple[F64 | None, ...]
    part: Path

    def __len__(self) -> int:
        return len(self.sources)


def run_chunks(setup: Setup, chunks: Sequence[Chunk], workers: int) -> Iterator[Chunk]:
    """Do the chunks; each is given back when its part is committed, in any order.

    Raises:
        PhotoError: the detector failed, or a worker died.
        MissingExtraError: the detector needs a package that isn't installed.
    """
    if not chunks:
        return
    preparer = setup.preparer()  # here too: what is missing is said once, before processes start
    if workers == 1 or len(chunks) == 1:
        for chunk in chunks:
            _do(setup, preparer, chunk)
            yield chunk
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(setup, os.getpid()),
    )
    try:
        waiting = {pool.submit(_do_in_worker, chunk): chunk for chunk in chunks}
        for done in as_completed(waiting):
            done.result()
            yield waiting.pop(done)
    except BrokenProcessPool as error:
        raise PhotoError(
            f"{setup.folder}: a worker died, of too little memory perhaps; what is done is kept: run the same command "
            f"again, with fewer than {workers} --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _do(setup: Setup, preparer: Preparer, chunk: Chunk) -> None:
    rows = zip(chunk.sources, chunk.given, strict=True)
    outcomes = [(chunk.first + n, preparer(setup.folder / source, given)) for n, (source, given) in enumerate(rows)]
    with explained(str(chunk.part)):
        write_part(chunk.part, outcomes)


_worker: tuple[Setup, Preparer]


def _start_worker(setup: Setup, parent: int) -> None:
    global _worker
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    _worker = setup, setup.preparer()


def _die_with(parent: int) -> None:
    """A killed parent can't tell its workers: they look."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _do_in_worker(chunk: Chunk) -> None:
    _do(*_worker, chunk)
