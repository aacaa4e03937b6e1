"""What importers share: the canonical frame, a plain albedo, files that must be there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from synthface.errors import MorphableModelError
from synthface.factors.types import AttributeAxis
from synthface.morphable.skin import individual_typology_angle
from training.morphable.build import ORIGIN_BEHIND_NOSE_DM, PUPIL_DISTANCE_DM
from training.morphable.mesh import farthest_points
from training.morphable.paint import DARKEST, LIGHTEST, REACH

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def needed(path: Path, what: str) -> Path:
    """A file that must be there.

    Raises:
        MorphableModelError: it isn't.
    """
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.iterdir())[:8] if path.parent.is_dir() else []
        there = f"; there are {', '.join(beside)}" if beside else ""
        raise MorphableModelError(f"{path}: not there, but needed: {what}{there}")
    return path


def shaped(array: npt.NDArray[np.generic], shape: tuple[int | None, ...], where: str) -> npt.NDArray[np.generic]:
    """An array of the given shape (None: any size).

    Raises:
        MorphableModelError: it has another.
    """
    fits = array.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = " × ".join("any" if size is None else str(size) for size in shape)
        raise MorphableModelError(f"{where}: has shape {array.shape}, expected {wanted}; is it the official file?")
    return array


def to_canonical(mean: F64, landmarks68: I64) -> tuple[float, F64]:
    """Scale and origin (3,) that put a head into the canonical frame, by its landmarks.

    Pupils are taken to be the middles of the eyes' landmarks.
    """
    eyes = [mean[landmarks68[36:42]].mean(axis=0), mean[landmarks68[42:48]].mean(axis=0)]
    scale = PUPIL_DISTANCE_DM / float(np.linalg.norm(eyes[0] - eyes[1]))
    mouth = mean[landmarks68[48:60], 1].mean()
    x = 0.5 * (eyes[0][0] + eyes[1][0])
    y = 0.5 * (0.5 * (eyes[0][1] + eyes[1][1]) + mouth)
    return scale, np.array([x, y, mean[landmarks68[30], 2] - ORIGIN_BEHIND_NOSE_DM / scale])


def plain_skin(num_vertices: int) -> tuple[F64, F64, dict[str, AttributeAxis]]:
    """Even skin for models without texture: mean (V, 3), one tone component (1, V, 3), and its ITA° axis."""
    mean, step = (DARKEST + LIGHTEST) / 2, (LIGHTEST - DARKEST) / (2 * REACH)
    coefficients = np.linspace(-3.4, 3.6, 141)
    ita = individual_typology_angle((mean + coefficients[:, None] * step).clip(0, 1))
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(ita)) > 1e-9])
    axis = AttributeAxis("degree", ita[rising], coefficients[rising, None], "albedo", (0,))
    tile = np.ones((num_vertices, 1))
    return tile * mean, (tile * step)[None], {"skin_tone_ita_deg": axis}


def dense_landmarks(mean: F64, faces: I64, face_mask: npt.NDArray[np.bool_], landmarks68: I64) -> npt.NDArray[np.int32]:
    """The 68, then up to 400 points spread over the face mask."""
    region = np.unique(np.concatenate([landmarks68, faces[face_mask].ravel()]))
    start = [int(np.searchsorted(region, v)) for v in dict.fromkeys(landmarks68.tolist())]
    return region[farthest_points(mean[region], min(400, len(region)), start)].astype(np.int32)
