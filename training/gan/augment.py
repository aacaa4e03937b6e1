"""Augmentations: of what the discriminator sees, and of what the frozen networks see inside the losses.

Source: Zhao et al. 2020 (DiffAugment): colour, translation and cutout, the same policy for real and fake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.gan.losses import blur


def diff_augment(images: Tensor, policy: Sequence[str], *, generator: torch.Generator) -> Tensor:
    """Augment (N, C, H, W), each picture its own way, differentiably; `policy` names entries of `AUGMENTATIONS`."""
    for name in policy:
        images = AUGMENTATIONS[name](images, generator)
    return images


def colour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift brightness by up to ±0.5, scale saturation by 0–2 and contrast by 0.5–1.5."""
    brightness, saturation, contrast = _uniform(3, images, generator)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2.0 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def translation(images: Tensor, generator: torch.Generator, *, ratio: float = 0.125) -> Tensor:
    """Shift by whole pixels, up to ±1/8 of the size each way, filling with zeros."""
    num, _, height, width = images.shape
    shift_x, shift_y = (
        torch.randint(
            -round(size * ratio), round(size * ratio) + 1, (num, 1), generator=generator, device=generator.device
        ).to(images.device)
        for size in (width, height)
    )
    rows = torch.arange(height, device=images.device)[None] + shift_y  # (N, H)
    columns = torch.arange(width, device=images.device)[None] + shift_x  # (N, W)
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    index = torch.arange(num, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[
        index, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return moved.permute(0, 3, 1, 2) * inside.to(images.dtype)


def cutout(images: Tensor, generator: torch.Generator, *, ratio: float = 0.5) -> Tensor:
    """Blank a square of half the size, centred anywhere in the picture."""
    height, width = images.shape[2:]
    across, down = _uniform(2, images, generator)
    rows = torch.arange(height, device=images.device)[None, :, None]
    columns = torch.arange(width, device=images.device)[None, None, :]
    is_cut_y = (rows - (down[:, 0] * height).floor()).abs() < height * ratio / 2
    is_cut_x = (columns - (across[:, 0] * width).floor()).abs() < width * ratio / 2
    return images * ~(is_cut_y & is_cut_x)[:, None]


def mild(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift brightness by up to ±0.1, scale contrast by 0.9–1.1, move by up to ±4 %: for frozen features."""
    brightness, contrast, across, down = _uniform(4, images, generator)
    images = images * (0.9 + 0.2 * contrast) + (0.2 * brightness - 0.1)
    shift = torch.stack([across, down], dim=-1).reshape(-1, 1, 2) * 2.0 - 1.0
    return _shifted(images, 0.04 * shift)


AUGMENTATIONS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
    "mild": mild,
}


@dataclass(frozen=True)
class Robustification:
    """How far pictures are disturbed before a frozen network in a loss, so that G can't please it by invisible means.

    Args:
        shift: greatest shift, fraction of the size.
        colour: greatest change of brightness, and of contrast about 1.
        blur_sigma_px: greatest blur.
    """

    shift: float = 0.03
    colour: float = 0.1
    blur_sigma_px: float = 0.7


@dataclass(frozen=True)
class Disturbed:
    """Disturbed pictures and how they were shifted: a point at p is now at p + shift.

    Args:
        images: (N, 3, H, W).
        shift: (N, 1, 2) fractions of the size, x right, y down.
    """

    images: Tensor
    shift: Tensor


def robustify(
    images: Tensor, strength: Robustification, *, generator: torch.Generator, keep_colour: bool = False
) -> Disturbed:
    """Blur, shift and recolour (N, 3, H, W); `keep_colour` where the loss is about light or colour."""
    brightness, contrast, across, down = _uniform(4, images, generator)
    (softness,) = torch.rand(1, generator=generator, device=generator.device).tolist()
    if strength.blur_sigma_px > 0:
        images = blur(images, sigma_px=max(softness * strength.blur_sigma_px, 1e-2))
    shift = torch.stack([across, down], dim=-1).reshape(-1, 1, 2) * 2.0 - 1.0
    shift = shift * strength.shift
    images = _shifted(images, shift) if strength.shift > 0 else images
    if not keep_colour and strength.colour > 0:
        gain = 1.0 + strength.colour * (2.0 * contrast - 1.0)
        images = images * gain + strength.colour * (2.0 * brightness - 1.0)
    return Disturbed(images, shift)


def _shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Move the content of (N, C, H, W) by (N, 1, 2) fractions of the size, edges repeated."""
    matrix = torch.eye(2, 3, device=images.device, dtype=images.dtype).repeat(len(images), 1, 1)
    matrix[:, :, 2] = -2.0 * shift[:, 0]
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _uniform(count: int, images: Tensor, generator: torch.Generator) -> Sequence[Tensor]:
    """`count` tensors (N, 1, 1, 1) in [0, 1)."""
    drawn = torch.rand(count, len(images), 1, 1, 1, generator=generator, device=generator.device)
    return drawn.to(images.device, images.dtype).unbind(0)
