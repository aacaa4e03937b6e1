"""What finds faces: a small protocol, and the detectors that go by a name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from synthface.errors import PhotoError

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    Args:
        landmarks: (L, 2) px of the photo, origin at its top-left corner; L is 468 (face mesh), 68 (iBUG) or 5.
        score: the detector's confidence in [0, 1].
        width_px: of the face as the detector sees it; says which of several faces is the largest.
    """

    landmarks: F64
    score: float
    width_px: float


class Detector(Protocol):
    """Finds the faces of a photo; one per process, so it may hold what it needs."""

    def find(self, photo: U8, near: F64 | None = None) -> Sequence[Face]:
        """The faces of a photo (H, W, 3), the largest first; empty where there is none.

        Args:
            photo: RGB, upright.
            near: (5, 2) eyes, nose tip and mouth corners of the face that is meant, px, where they are known: then
                only that face.
        """
        ...


#: Name to "module:class".
DETECTORS: Mapping[str, str] = {"facemesh": "training.photos.facemesh:FaceMesh"}


def load_detector(name: str) -> Detector:
    """A detector by its name, or any class that keeps to `Detector` as `module:class`.

    Raises:
        PhotoError: there is none of that name.
        MissingExtraError: it needs a package that isn't installed.
    """
    module, colon, attribute = DETECTORS.get(name, name).partition(":")
    if not colon:
        raise PhotoError(f"no detector {name!r}; allowed: {', '.join(DETECTORS)}, or your own as module:class")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise PhotoError(f"detector {name!r}: {error}; give an importable module:class") from error
    detector: Detector = kind()
    return detector
