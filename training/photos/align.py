"""Alignment by scale and translation only: roll is a factor, so photos are never turned.

A crop is three numbers (scale, x, y): source pixel p goes to scale · p + (x, y), in pixels of a `FRAME_PX`² view of the
camera. Around that frame a prepared photo keeps a margin, so that it can be re-cropped once its translation is known.

Source: Deng et al. 2020, Sec. 3 and supplement: five landmarks to the morphable model's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

F64 = npt.NDArray[np.float64]

#: The camera's view that crops are measured in, px.
FRAME_PX = 256
#: What a prepared photo keeps on each side of the frame, px of the frame.
MARGIN_PX = 32
CANVAS_PX = FRAME_PX + 2 * MARGIN_PX

#: The points of the right and the left eye, tip of the nose, right and left corner of the mouth, of the 468 and of the 68.
_MESH = ((33, 133), (362, 263), 1, (61, 291))
_IBUG = (tuple(range(36, 42)), tuple(range(42, 48)), 30, (48, 54))


def five_points(landmarks: F64) -> F64:
    """(…, 5, 2) eyes, nose tip, mouth corners, the subject's right first (image left).

    Args:
        landmarks: (…, L, 2 or more), L = 468 (face mesh), 68 (iBUG) or 5 (these points themselves).
    """
    xy = landmarks[..., :2]
    count = landmarks.shape[-2]
    if count == 5:
        return xy
    right, left, nose, mouth = _IBUG if count == 68 else _MESH
    eyes = [xy[..., list(corners), :].mean(axis=-2) for corners in (right, left)]
    return np.stack([*eyes, xy[..., nose, :], xy[..., mouth[0], :], xy[..., mouth[1], :]], axis=-2)


@lru_cache(maxsize=1)
def model_landmarks68() -> F64:
    """(68, 2) the mean head's iBUG landmarks in the camera's view, px of the frame."""
    from synthface.morphable.basis import MorphableBasis
    from synthface.morphable.camera import DISTANCE_DM, focal_px

    basis = MorphableBasis.load()
    points = basis.mean_shape[basis.landmarks68].astype(np.float64)
    return np.array([1.0, -1.0]) * points[:, :2] * focal_px(FRAME_PX) / (DISTANCE_DM - points[:, 2:]) + FRAME_PX / 2


def model_five_points() -> F64:
    """(5, 2) the mean head's five points in the camera's view, px of the frame."""
    return five_points(model_landmarks68())


def crop_of(points: F64, targets: F64) -> F64:
    """(…, 3) the crop (scale, x, y) that brings points (…, L, 2) nearest to targets (L, 2) turned as the points are.

    Least squares over scale, translation and a turn that isn't kept: a face that is rolled comes out as large as an
    upright one.
    """
    along, across = _products(points, targets)
    centre = points.mean(axis=-2)
    scale = np.hypot(along, across) / ((points - centre[..., None, :]) ** 2).sum(axis=(-2, -1))
    return np.concatenate([scale[..., None], targets.mean(axis=-2) - scale[..., None] * centre], axis=-1)


def resemblance(points: F64, targets: F64) -> tuple[float, float]:
    """How far points (L, 2) are turned against targets (L, 2), rad, clockwise in the picture, and how alike they are then.

    Returns:
        The angle, and the correlation in [0, 1] that is left when scale, translation and turn are taken out.
    """
    along, across = (float(v) for v in _products(points, targets))
    spread = float(np.linalg.norm(points - points.mean(axis=0)) * np.linalg.norm(targets - targets.mean(axis=0)))
    return float(np.arctan2(-across, along)), float(np.hypot(along, across)) / max(spread, 1e-12)


def _products(points: F64, targets: F64) -> tuple[F64, F64]:
    """Inner and outer product of points (…, L, 2) and targets (L, 2) about their centres."""
    p, t = points - points.mean(axis=-2, keepdims=True), targets - targets.mean(axis=-2, keepdims=True)
    return (p * t).sum(axis=(-2, -1)), (p[..., 0] * t[..., 1] - p[..., 1] * t[..., 0]).sum(axis=-1)


def apply_crop(crop: F64, points: F64) -> F64:
    """Points (…, L, 2) of the source in px of the frame."""
    return crop[..., None, :1] * points + crop[..., None, 1:]


def cut(photo: Image.Image, crop: F64, size_px: int, *, margin: float = 0.0) -> tuple[Image.Image, float]:
    """The crop as a square picture.

    Args:
        photo: the source.
        crop: (3,) in px of the frame.
        size_px: of the result.
        margin: what to keep around the frame, as a share of the frame's size.

    Returns:
        The picture, the photo's edge pixels going on beyond its edges, and the share of it that the photo covers.
    """
    side = FRAME_PX * (1.0 + 2.0 * margin) / crop[0]  # source px
    left, top = (-margin * FRAME_PX - crop[1:]) / crop[0]
    limit = np.array([photo.width, photo.height])
    low, high = np.array([left, top]), np.array([left, top]) + side
    # What Lanczos reaches, and at least one pixel of the photo to go on with.
    reach = np.ceil(3 * max(1.0, side / size_px)) + 1
    first = np.clip(np.floor(low - reach), 0, limit - 1).astype(int)
    last = np.clip(np.ceil(high + reach), first + 1, limit).astype(int)
    pixels = np.asarray(photo.crop((*first.tolist(), *last.tolist())).convert("RGB"))
    before = np.maximum(np.ceil(first - low), 0).astype(int)
    after = np.maximum(np.ceil(high - last), 0).astype(int)
    if before.any() or after.any():
        pixels = np.pad(pixels, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    corner = np.maximum(low - first + before, 0)
    box = (*corner.tolist(), *np.minimum(corner + side, [pixels.shape[1], pixels.shape[0]]).tolist())
    result = Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.LANCZOS, box=box)
    inside = np.maximum(np.minimum(high, limit) - np.maximum(low, 0), 0).prod()
    return result, float(inside / side**2)
