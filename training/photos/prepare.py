"""A folder of photos to a prepared folder: list, chunk, prepare, pack, picture, commit."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import OutputError, OutputMismatchError, PhotoError
from synthface.storage import LocalStore, explained
from training.photos.given import GivenLandmarks
from training.photos.load import list_photos, photo_keys
from training.photos.pack import Packing, pack
from training.photos.parts import FORMAT, is_whole
from training.photos.quality import PrepareRecipe
from training.photos.work import Chunk, Setup, run_chunks
from training.recipe import to_plain

F64 = npt.NDArray[np.float64]

CONFIG, METRICS, PARTS = "config.json", "metrics.json", "parts"
#: Photos per part: what a killed run loses per worker, a second of work.
CHUNK = 32
#: Told after each chunk: photos done and to do in this run, seconds since it began.
OnProgress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Source:
    """What is to be prepared.

    Args:
        folder: of photos.
        detector: a name that `load_detector` knows; None where all landmarks are given.
        landmarks: those that the user brings: file or folder.
    """

    folder: Path
    detector: str | None = "facemesh"
    landmarks: Path | None = None

    def __post_init__(self) -> None:
        if self.detector is None and self.landmarks is None:
            raise PhotoError("neither a detector nor landmarks; give one of them")


def prepare(
    source: Source,
    out: Path,
    recipe: PrepareRecipe,
    *,
    workers: int = 1,
    overwrite: bool = False,
    on_progress: OnProgress = lambda done, total, seconds: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Prepare a folder of photos; a run that was killed goes on where it was.

    Args:
        source: the photos.
        out: the prepared folder; see `prepared.py` for what is in it.
        recipe: which photos are accepted.
        workers: processes.
        overwrite: replace what was prepared with other settings.
        on_progress: told after each chunk.
        say: told what is noteworthy.

    Returns:
        The figures that `metrics.json` holds.

    Raises:
        PhotoError: there are no photos, none is accepted, or the landmarks don't fit them.
        OutputMismatchError: `out` was prepared otherwise, and `overwrite` isn't set.
    """
    if out.resolve().is_relative_to(source.folder.resolve()):
        raise PhotoError(f"{out}: lies in the folder of photos; choose a folder outside {source.folder}")
    store = LocalStore(out, create=True)
    with store.lock("prepare", patience_s=2.0):
        plan = _plan(source, out, recipe)
        finished = _finished(out, plan, overwrite=overwrite)
        if finished is not None:
            say(f"{out}: already prepared from these photos with these settings; nothing to do")
            return finished
        for line in plan.notes:
            say(line)
        setup = Setup(source.folder, recipe, source.detector, source.landmarks is not None)
        seconds = _run(setup, plan, workers, on_progress, say)
        return _finish(out, plan, seconds)


@dataclass(frozen=True)
class _Plan:
    chunks: tuple[Chunk, ...]
    packing: Packing
    config: dict[str, Any]
    notes: tuple[str, ...]


def _plan(source: Source, out: Path, recipe: PrepareRecipe) -> _Plan:
    listing = list_photos(source.folder)
    given = None if source.landmarks is None else GivenLandmarks(source.landmarks, listing.sources)
    settings = {"detector": source.detector, "landmarks": given is not None, "format": FORMAT, **to_plain(recipe)}
    chunks = tuple(_chunks(source.folder, listing.sources, given, out / PARTS, json.dumps(settings)))
    run = {
        "photos": str(source.folder.resolve()),
        "detector": source.detector,
        "landmarks": None if source.landmarks is None else str(source.landmarks.resolve()),
        "digest": hashlib.sha256("".join(chunk.part.name for chunk in chunks).encode()).hexdigest(),
    }
    notes = []
    if listing.ignored:
        some = ", ".join(listing.ignored[:3]) + (" …" if len(listing.ignored) > 3 else "")
        notes.append(f"{len(listing.ignored)} files ignored that aren't photos: {some}")
    if given is not None and len(given) < len(listing.sources):
        notes.append(f"{source.landmarks}: landmarks for {len(given)} of {len(listing.sources)} photos")
    packing = Packing(out, listing.sources, photo_keys(listing.sources), tuple(chunk.part for chunk in chunks))
    return _Plan(chunks, packing, {"prepare": to_plain(recipe), "run": run}, tuple(notes))


def _chunks(
    folder: Path, sources: tuple[str, ...], given: GivenLandmarks | None, parts: Path, settings: str
) -> Iterator[Chunk]:
    """Chunks whose parts are named by all that decides what is in them: changed photos or settings get new parts."""
    for first in range(0, len(sources), CHUNK):
        some = sources[first : first + CHUNK]
        points = tuple(None if given is None else given.of(name) for name in some)
        sha = hashlib.sha256(f"{settings}{first}".encode())
        for name, landmarks in zip(some, points, strict=True):
            status = (folder / name).stat()
            sha.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
            sha.update(b"" if landmarks is None else landmarks.tobytes())
        yield Chunk(first, some, points, parts / f"{first:09d}-{sha.hexdigest()[:16]}.safetensors")


def _finished(out: Path, plan: _Plan, *, overwrite: bool) -> dict[str, Any] | None:
    """The figures of a run that finished with the same result; None where there is something to do."""
    if not (out / CONFIG).exists():
        return None
    try:
        config = json.loads((out / CONFIG).read_text(encoding="utf-8"))
        if config["run"]["digest"] == plan.config["run"]["digest"]:
            return json.loads((out / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not overwrite:
            raise OutputError(f"{out}: {CONFIG} or {METRICS} can't be read ({error}); give --overwrite") from error
        return None
    if not overwrite:
        raise OutputMismatchError(
            f"{out}: holds photos prepared with other settings, or from photos that have changed since; choose another "
            "folder, or give --overwrite"
        )
    return None


def _run(setup: Setup, plan: _Plan, workers: int, on_progress: OnProgress, say: Callable[[str], None]) -> float:
    """Do what isn't done yet; returns the seconds it took."""
    with explained(str(plan.packing.out / PARTS)):
        (plan.packing.out / PARTS).mkdir(exist_ok=True)
    left = [chunk for chunk in plan.chunks if not is_whole(chunk.part)]
    there = sum(map(len, plan.chunks)) - sum(map(len, left))
    if there:
        say(f"{there} photos were done by an earlier run")
    began, done, total = time.monotonic(), 0, sum(map(len, left))
    for chunk in run_chunks(setup, left, workers):
        done += len(chunk)
        on_progress(done, total, time.monotonic() - began)
    return time.monotonic() - began


def _finish(out: Path, plan: _Plan, seconds: float) -> dict[str, Any]:
    """Pack the parts; `config.json` is what commits."""
    with explained(str(out)):
        (out / CONFIG).unlink(missing_ok=True)
        figures = pack(plan.packing) | {"seconds": round(seconds, 1)}
        (out / METRICS).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        if not figures["num_accepted"]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in figures["rejected"].items())
            raise PhotoError(
                f"{out}: no photo was accepted ({reasons}); look at rejected.jpg, then at the recipe's bounds"
            )
        temporary = out / f".{CONFIG}.tmp"
        temporary.write_text(json.dumps(plan.config, indent=2) + "\n", encoding="utf-8")
        temporary.replace(out / CONFIG)
        shutil.rmtree(out / PARTS)
    return figures
