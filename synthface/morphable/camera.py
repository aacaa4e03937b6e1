"""The one camera: where every picture is taken from.

Right-handed world, x to the image's right, y up, z towards the viewer; unit decimetre. The camera stands at (0, 0, 10)
and looks at the origin, so its own axes are the world's. Pixel coordinates start at the image's top-left corner, x to
the right, y down; the centre of the first pixel is (0.5, 0.5).

Source: Deng et al. 2020, supplement: focal length 1015 px at 224 px for reconstruction, times 1.22 at 256 px for the
generator; it scales with resolution (vertical field of view 11.80°).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

DISTANCE_DM = 10.0
FOCAL_PER_PIXEL = 1015.0 * 1.22 / 256.0
VERTICAL_FOV_DEG = math.degrees(2.0 * math.atan(0.5 / FOCAL_PER_PIXEL))


def focal_px(size_px: int) -> float:
    """The focal length of a `size_px` × `size_px` view."""
    return FOCAL_PER_PIXEL * size_px


def project(points: Tensor) -> Tensor:
    """Points (…, 3) in the world, dm → clip coordinates (…, 4): x and y in [−w, w] inside the view, y up; z = w = depth.

    The fourth coordinate is the distance along the viewing axis in dm, so that perspective-correct interpolation
    needs nothing else.
    """
    depth = DISTANCE_DM - points[..., 2]
    scale = 2.0 * FOCAL_PER_PIXEL
    return torch.stack([points[..., 0] * scale, points[..., 1] * scale, depth, depth], dim=-1)


def clip_to_pixels(clip: Tensor, size_px: int) -> Tensor:
    """Clip coordinates (…, 4) → pixel coordinates (…, 2)."""
    ndc = clip[..., :2] / clip[..., 3:4]
    half = 0.5 * size_px
    return torch.stack([(ndc[..., 0] + 1.0) * half, (1.0 - ndc[..., 1]) * half], dim=-1)


def to_pixels(points: Tensor, size_px: int) -> Tensor:
    """Points (…, 3) in the world, dm → pixel coordinates (…, 2)."""
    return clip_to_pixels(project(points), size_px)
