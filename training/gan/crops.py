"""Cropping a face by landmarks, inside the graph: the gradient passes to the picture, never to the landmarks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(points: Tensor, template: Tensor) -> Tensor:
    """The matrices (N, 2, 3) that take points (N, P, 2) nearest to a template (P, 2): rotation, scale, translation.

    Source: least squares over complex numbers, z' = a z + b; the same as Umeyama 1991 without reflection.
    """
    mean, mean_template = points.mean(dim=1, keepdim=True), template.mean(dim=0)
    p, q = points - mean, template - mean_template
    norm = p.square().sum(dim=(1, 2)).clamp_min(1e-12)
    real = (p * q).sum(dim=(1, 2)) / norm
    imaginary = (p[..., 0] * q[:, 1] - p[..., 1] * q[:, 0]).sum(dim=1) / norm
    linear = torch.stack([torch.stack([real, -imaginary], dim=1), torch.stack([imaginary, real], dim=1)], dim=1)
    shift = mean_template[:, None] - linear @ mean.transpose(1, 2)
    return torch.cat([linear, shift], dim=2)


def crop_by_points(images: Tensor, points: Tensor, template: Tensor, size_px: int) -> Tensor:
    """Crops (N, C, size_px, size_px) in which the points lie at the template.

    Args:
        images: (N, C, H, W).
        points: (N, P, 2) fractions of the picture's size; constants.
        template: (P, 2) fractions of the crop's size.
        size_px: H = W of the crops.
    """
    matrix = similarity(points.detach(), template.to(points))
    linear = torch.linalg.inv(matrix[:, :, :2])  # from crop to picture
    shift = -linear @ matrix[:, :, 2:]
    # In the sampler's coordinates a fraction f is 2f − 1, in both picture and crop.
    ones = torch.ones(2, 1, device=points.device, dtype=points.dtype)
    theta = torch.cat([linear, linear @ ones + 2.0 * shift - ones], dim=2)
    grid = F.affine_grid(theta.to(images.dtype), [len(images), images.shape[1], size_px, size_px], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
