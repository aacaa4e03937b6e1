"""What is done of a preparation: a file per chunk of photos, there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import DatasetError
from training.gan.mapped import MappedTensors, write_mapped

FORMAT = "synthface-photo-part-1"


@dataclass(frozen=True)
class Accepted:
    """A photo that is taken.

    Args:
        jpeg: the aligned photo, `CANVAS_PX`².
        digest: (16,) bytes that tell whether two photos have the same pixels.
        crop: (3,) source px to px of the frame.
        landmarks: (L, 2) px of the canvas.
        score: the detector's.
        sharpness: of the face.
        coverage: share of the canvas.
    """

    jpeg: bytes
    digest: bytes
    crop: npt.NDArray[np.float64]
    landmarks: npt.NDArray[np.float64]
    score: float
    sharpness: float
    coverage: float


@dataclass(frozen=True)
class Rejected:
    """A photo that isn't: why, and a small JPEG of it (empty where it can't be read)."""

    reason: str
    detail: str
    thumbnail: bytes


#: A photo's place in the sorted list, and what became of it.
Outcome = tuple[int, Accepted | Rejected]


def write_part(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write a chunk's outcomes, under a temporary name until they are whole."""
    taken = [(n, o) for n, o in outcomes if isinstance(o, Accepted)]
    others = [(n, o) for n, o in outcomes if isinstance(o, Rejected)]
    arrays: dict[str, npt.NDArray[Any]] = {
        "row": np.array([n for n, _ in taken], np.int64),
        "jpeg_offsets": np.cumsum([0, *(len(o.jpeg) for _, o in taken)], dtype=np.int64),
        "thumbnail_offsets": np.cumsum([0, *(len(o.thumbnail) for _, o in others)], dtype=np.int64),
        "jpeg": np.frombuffer(b"".join(o.jpeg for _, o in taken), np.uint8),
        "thumbnail": np.frombuffer(b"".join(o.thumbnail for _, o in others), np.uint8),
        "digest": np.frombuffer(b"".join(o.digest for _, o in taken), np.uint8),
    }
    for name in ("crop", "landmarks", "score", "sharpness", "coverage"):
        arrays[name] = np.array([getattr(o, name) for _, o in taken], np.float32)
    rejected = json.dumps([(n, o.reason, o.detail) for n, o in others])
    # A name per process: what a killed run's workers still write doesn't mix with what the next run writes.
    own = path.with_name(f"{path.name}.{os.getpid()}")
    write_mapped(own, arrays, {"format": FORMAT, "rejected": rejected})
    own.replace(path)


class Part:
    """A chunk's outcomes, read in place.

    Args:
        path: what `write_part` wrote.
    """

    def __init__(self, path: Path) -> None:
        self._file = MappedTensors(path, FORMAT)
        self.row: list[int] = self._file["row"].tolist()
        self.rejected: list[tuple[int, str, str]] = [tuple(r) for r in json.loads(self._file.metadata["rejected"])]

    def __len__(self) -> int:
        return len(self.row)

    def numbers(self, name: str) -> npt.NDArray[np.float32]:
        """A column of the accepted photos."""
        return np.array(self._file[name])

    def jpeg(self, number: int) -> bytes:
        """An accepted photo."""
        return self._blob("jpeg", number)

    def digest(self, number: int) -> bytes:
        """What tells whether two accepted photos have the same pixels."""
        return bytes(self._file["digest"][16 * number : 16 * (number + 1)])

    def thumbnail(self, number: int) -> bytes:
        """A rejected photo."""
        return self._blob("thumbnail", number)

    def _blob(self, name: str, number: int) -> bytes:
        start, stop = self._file[f"{name}_offsets"][number : number + 2]
        return bytes(self._file[name][start:stop])


def is_whole(path: Path) -> bool:
    """Whether a part is there and not cut short, as a machine's sudden end may leave it."""
    try:
        Part(path)
    except DatasetError:
        return False
    return True
