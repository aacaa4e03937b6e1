"""Numbers read off pictures, kept chunk by chunk: a killed evaluation goes on where it was.

A chunk's file is named by everything that its numbers depend on (generator, network, size, λ and ε), so that changed
settings never meet old numbers, and measurements that look at the same pictures share them.
"""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.pipeline import Progress

#: Raised when the same pictures give other numbers.
VERSION = 2


@dataclass
class Counter:
    """How many pictures are done, of how many; those whose numbers were kept don't count."""

    total: int = 0
    done: int = 0
    kept: int = 0
    report: Callable[[Progress], None] = lambda progress: None
    began: float = field(default_factory=time.monotonic)

    def add(self, num: int, *, was_kept: bool) -> None:
        """Count pictures; the time left is estimated from those that took time."""
        self.kept += num * was_kept
        self.done += num * (not was_kept)
        total = max(self.total - self.kept, self.done)
        self.report(Progress(self.done, total, time.monotonic() - self.began))


@dataclass
class Store:
    """A folder of chunks.

    Args:
        folder: where.
        chunk: rows in a file.
        counter: progress.
    """

    folder: Path
    chunk: int
    counter: Counter = field(default_factory=Counter)

    def rows(
        self,
        kind: str,
        num: int,
        parts: Mapping[str, Any],
        content: Callable[[slice], bytes],
        compute: Callable[[slice, Sequence[str]], Mapping[str, Mapping[str, Tensor]]],
        *,
        weight: int = 1,
    ) -> dict[str, Tensor]:
        """Numbers of rows 0 … num: those that are kept, and what is missing computed.

        Args:
            kind: of the rows: the beginning of the files' names.
            num: how many.
            parts: what reads them, to what its numbers depend on besides; plain data. Each has files of its own.
            content: what a run of rows depends on; bytes.
            compute: for a run of rows and the parts that miss it, part to name to numbers, with a row per row.
            weight: pictures per row, for the progress.
        """
        pieces: list[dict[str, Tensor]] = []
        for start in range(0, num, self.chunk):
            rows = slice(start, min(start + self.chunk, num))
            paths = {part: self._path(kind, about, content(rows)) for part, about in parts.items()}
            found = {part: _load(path) for part, path in paths.items()}
            missing = [part for part, kept in found.items() if kept is None]
            if missing:
                with torch.no_grad():
                    fresh = compute(rows, missing)
                for part in missing:
                    _save(paths[part], fresh[part])
                    found[part] = dict(fresh[part])
            self.counter.add(weight * (rows.stop - rows.start), was_kept=not missing)
            pieces.append({name: value for kept in found.values() for name, value in (kept or {}).items()})
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    def _path(self, kind: str, about: Any, content: bytes) -> Path:
        common = json.dumps([VERSION, kind, about], sort_keys=True, default=str).encode()
        return self.folder / f"{kind}-{hashlib.sha256(common + content).hexdigest()[:32]}.npz"


def _load(path: Path) -> dict[str, Tensor] | None:
    """A kept chunk; None where there is none, or it is damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _save(path: Path, arrays: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in arrays.items()})  # type: ignore[arg-type]
    temporary.replace(path)
