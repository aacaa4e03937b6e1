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

#: Of the 468 face-mesh points: corners of the right and the left eye, tip of the nose, right and left corner of the mouth.
_RIGHT_EYE, _LEFT_EYE, _NOSE, _MOUTH = (33, 133), (362, 263), 1, (61, 291)


def five_points(landmarks: F64) -> F64:
    """(…, 5, 2) eyes, nose tip, mouth corners of landmarks (…, 468, 2 or 3), the subject's right first (image left)."""
    xy = landmarks[..., :2]
    eyes = [xy[..., list(corners), :].mean(axis=-2) for corners in (_RIGHT_EYE, _LEFT_EYE)]
    return np.stack([*eyes, xy[..., _NOSE, :], xy[..., _MOUTH[0], :], xy[..., _MOUTH[1], :]], axis=-2)


@lru_cache(maxsize=1)
def model_five_points() -> F64:
    """(5, 2) the mean head's five points in the camera's view, px of the frame."""
    from synthface.morphable.basis import MorphableBasis
    from synthface.morphable.camera import DISTANCE_DM, focal_px

    basis = MorphableBasis.load()
    points = basis.mean_shape[basis.landmarks68].astype(np.float64)
    chosen = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])
    scale = focal_px(FRAME_PX) / (DISTANCE_DM - chosen[:, 2:])
    return np.array([1.0, -1.0]) * chosen[:, :2] * scale + FRAME_PX / 2


def crop_of(points: F64, targets: F64) -> F64:
    """(…, 3) the crop (scale, x, y) that brings points (…, L, 2) nearest to targets (L, 2), least squares."""
    centre, target = points.mean(axis=-2, keepdims=True), targets.mean(axis=-2, keepdims=True)
    centred, wanted = points - centre, targets - target
    scale = (centred * wanted).sum(axis=(-2, -1)) / (centred**2).sum(axis=(-2, -1))
    shift = target[..., 0, :] - scale[..., None] * centre[..., 0, :]
    return np.concatenate([scale[..., None], shift], axis=-1)


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
    span = 1.0 + 2.0 * margin
    per_px = FRAME_PX * span / size_px / crop[0]  # source px per px of the result
    left, top = (-margin * FRAME_PX - crop[1:]) / crop[0]
    side = per_px * size_px
    width, height = photo.size
    pad = [max(0, int(np.ceil(v)) + 1) for v in (-left, -top, left + side - width, top + side - height)]
    pixels = np.asarray(photo.convert("RGB"))
    if any(pad):
        pixels = np.pad(pixels, ((pad[1], pad[3]), (pad[0], pad[2]), (0, 0)), mode="edge")
    box = (left + pad[0], top + pad[1], left + pad[0] + side, top + pad[1] + side)
    inside = max(0.0, min(width, left + side) - max(0.0, left)) * max(0.0, min(height, top + side) - max(0.0, top))
    result = Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.LANCZOS, box=box)
    return result, float(inside / side**2)
