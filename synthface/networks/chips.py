"""Cropping faces for recognition, inside the graph: the gradient passes to the picture, never to the landmarks.

Five points lay the crop: the corners of both eyes and the base of the nose. The mouth has no say, so a crop doesn't move when
the face speaks.

Source: the positions are those that dlib's face chips are laid by (`get_face_chip_details`, five points).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: dlib's order: outer and inner corner of the subject's left eye, of the right eye, base of the nose (below its tip).
FIVE_OF_68 = (45, 42, 36, 39, 33)
#: The same five of the 468 points of the face mesh.
FIVE_OF_468 = (263, 362, 33, 133, 2)
_PLACES = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
#: Room around the face that the recognition network was trained with, as a share of its side.
PADDING = 0.25


def places(padding: float = PADDING) -> Tensor:
    """(5, 2) where the five points lie in a crop, as fractions of its side."""
    return (torch.tensor(_PLACES) + padding) / (1.0 + 2.0 * padding)


def five_points(landmarks: Tensor) -> Tensor:
    """The five points (N, 5, 2) of landmarks (N, 468 | 68 | 5, 2); five are taken to be in dlib's order.

    Raises:
        ValueError: another number of landmarks.
    """
    rows = {468: FIVE_OF_468, 68: FIVE_OF_68, 5: tuple(range(5))}.get(landmarks.shape[1])
    if rows is None or landmarks.ndim != 3 or landmarks.shape[2] != 2:
        raise ValueError(
            f"landmarks are {tuple(landmarks.shape)}; allowed: (N, 68, 2) in the order of iBUG, (N, 468, 2) of the face mesh, "
            "(N, 5, 2) corners of the left eye, of the right eye (outer, inner; the subject's), base of the nose"
        )
    return landmarks[:, list(rows)]


def chips(images: Tensor, landmarks: Tensor, *, size_px: int = 150, target: Tensor | None = None) -> Tensor:
    """Crops (N, C, size_px, size_px) with the face upright in the middle; outside the picture they are black.

    A crop's pixel averages a grid of bilinear samples as fine as the picture's own pixels, so that large faces don't alias.
    How many depends on the picture's size alone: a picture's crop is the same in every batch.

    Args:
        images: (N, C, H, W) in [−1, 1].
        landmarks: (N, 468 | 68 | 5, 2) fractions of the picture's width and height, origin at the top-left corner. Constants.
        size_px: H = W of the crops.
        target: (5, 2) where the points go, fractions of the crop; `places()` by default.
    """
    height, width = images.shape[-2:]
    per_px = max(1, math.ceil(max(height, width) / size_px))
    target = (places() if target is None else target).to(landmarks)
    extent = landmarks.new_tensor([width, height])
    grid = _grid(five_points(landmarks.detach()) * extent, target, size_px * per_px)
    # Pixels of the picture to the sampler's coordinates, −1 … 1 from edge to edge.
    grid = (2.0 * grid / extent - 1.0).to(images.dtype)
    sampled = F.grid_sample(images + 1.0, grid, padding_mode="zeros", align_corners=False) - 1.0
    return F.avg_pool2d(sampled, per_px) if per_px > 1 else sampled


def _grid(points_px: Tensor, target: Tensor, num: int) -> Tensor:
    """(N, num, num, 2) px of the picture under each of a crop's num² samples."""
    centre, linear = _to_picture(points_px, target)
    across = (torch.arange(num, device=points_px.device, dtype=points_px.dtype) + 0.5) / num
    y, x = torch.meshgrid(across, across, indexing="ij")
    offsets = torch.stack([x, y], dim=-1).reshape(1, -1, 2) - target.mean(dim=0)
    return (centre + offsets @ linear.transpose(1, 2)).reshape(-1, num, num, 2)


def _to_picture(points_px: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 1, 2) where the target's centre lies and (N, 2, 2) the turn and scale from crop to picture.

    Source: least squares over complex numbers, z' = a z + b (Umeyama 1991 without reflection), in dlib's direction.
    """
    centre = points_px.mean(dim=1, keepdim=True)
    q, p = points_px - centre, target - target.mean(dim=0)
    norm = p.square().sum()
    real = (p * q).sum(dim=(1, 2)) / norm
    imaginary = (p[:, 0] * q[..., 1] - p[:, 1] * q[..., 0]).sum(dim=1) / norm
    rows = [torch.stack([real, -imaginary], dim=1), torch.stack([imaginary, real], dim=1)]
    return centre, torch.stack(rows, dim=1)
