"""Labelled photos as training sees them: moved, mirrored, relit, recoloured, blurred, and before other backgrounds.

Eq. 7 compares m(·) on pairs that differ in light, so light is what is varied most: each photo comes as two versions that
differ in everything but geometry, and the network is also asked to see the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.morphable.lighting import linear_to_srgb, srgb_to_linear
from synthface.networks.parser import CLASSES
from training.parser.pseudo import UNSURE
from training.photos.align import CANVAS_PX, FRAME_PX

BACKGROUND = CLASSES.index("background")
#: Brings the canvas of labelled photos to the camera's frame.
_TO_FRAME = FRAME_PX / CANVAS_PX


@dataclass(frozen=True)
class Augmentation:
    """How far photos are changed.

    Args:
        zoom: range of the picture's scale, 1 is the camera's frame.
        turn_deg: greatest in-plane rotation.
        shift: greatest move, as a share of the picture.
        relight: standard deviation of the log of a smooth gain field, in linear light.
        tint: of the log gain of each channel.
        exposure: of the log gain of all.
        background: share of the pictures put before a made-up background.
        blur_px: greatest sigma.
        noise: greatest sigma, of sRGB in [0, 1].
    """

    zoom: tuple[float, float] = (0.8, 1.4)
    turn_deg: float = 12.0
    shift: float = 0.06
    relight: float = 0.5
    tint: float = 0.12
    exposure: float = 0.35
    background: float = 0.4
    blur_px: float = 1.2
    noise: float = 0.04


@dataclass(frozen=True)
class Labelled:
    """Photos (N, 3, S, S) in [0, 1], labels (N, S, S) u8, mattes (N, 1, S, S) in [0, 1]."""

    photos: Tensor
    labels: Tensor
    mattes: Tensor


def framed(seen: Labelled, size_px: int) -> Labelled:
    """The camera's frame of canvases, unchanged otherwise, at `size_px`."""
    num = len(seen.photos)
    matrix = torch.eye(2, 3).mul(_TO_FRAME).repeat(num, 1, 1)
    return _sampled(seen, matrix, size_px)


def moved(seen: Labelled, how: Augmentation, size_px: int, *, generator: torch.Generator) -> Labelled:
    """Canvases zoomed, turned, shifted and, half of them, mirrored; as pictures of `size_px`."""
    num = len(seen.photos)
    zoom, turn, across, down, flip = torch.rand(5, num, generator=generator)
    low, high = how.zoom
    scale = _TO_FRAME / (low * (high / low) ** zoom)
    angle = torch.deg2rad(how.turn_deg * (2 * turn - 1))
    mirror = torch.where(flip < 0.5, -1.0, 1.0)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    shift = 2 * how.shift * (2 * torch.stack([across, down], dim=1) - 1) * _TO_FRAME
    linear = torch.stack([torch.stack([mirror * cosine, -sine], 1), torch.stack([mirror * sine, cosine], 1)], 1)
    return _sampled(seen, torch.cat([linear, shift[..., None]], dim=2), size_px)


def recoloured(seen: Labelled, how: Augmentation, *, generator: torch.Generator) -> Tensor:
    """Pictures (N, 3, S, S) in [−1, 1] of photos in other light, colour and sharpness, some before other backgrounds."""
    num, _, size, _ = seen.photos.shape
    behind = _backgrounds(num, size, generator)
    chosen = (torch.rand(num, generator=generator) < how.background).float().reshape(-1, 1, 1, 1)
    opacity = 1 - chosen * (1 - _opacity(seen))
    linear = srgb_to_linear(seen.photos * opacity + behind * (1 - opacity))
    log_gain = gain_fields(num, size, how.relight, generator=generator)
    log_gain = log_gain + how.tint * torch.randn(num, 3, 1, 1, generator=generator)
    log_gain = log_gain + how.exposure * torch.randn(num, 1, 1, 1, generator=generator)
    picture = linear_to_srgb(linear * log_gain.exp())
    gamma, saturation, noise = torch.rand(3, num, 1, 1, 1, generator=generator)
    picture = picture.clamp_min(1e-4) ** (0.75 * (1.33 / 0.75) ** gamma)
    grey = picture.mean(dim=1, keepdim=True)
    picture = grey + (picture - grey) * (0.4 + saturation)
    picture = _blurred(picture, how.blur_px * float(torch.rand(1, generator=generator)))
    picture = picture + how.noise * noise * torch.randn(picture.shape, generator=generator)
    return picture.clamp(0, 1) * 2 - 1


def gain_fields(num: int, size_px: int, strength: float, *, generator: torch.Generator) -> Tensor:
    """Smooth fields (N, 1, S, S) of mean 0, each a slope across the picture and a few soft patches: logs of gains."""
    ramp = torch.linspace(-1, 1, size_px)
    slope = torch.randn(2, num, 1, 1, 1, generator=generator)
    patches = torch.randn(num, 1, 4, 4, generator=generator)
    soft = F.interpolate(patches, size=(size_px, size_px), mode="bicubic", align_corners=True)
    field = slope[0] * ramp + slope[1] * ramp[:, None] + 0.6 * soft
    return strength * (field - field.mean(dim=(2, 3), keepdim=True))


def _opacity(seen: Labelled) -> Tensor:
    """How much of a pixel is person: by the matte, but nothing where the label is sure that it is background."""
    is_background = (seen.labels == BACKGROUND)[:, None]
    return torch.where(is_background, 0.0, seen.mattes)


def _backgrounds(num: int, size: int, generator: torch.Generator) -> Tensor:
    """Made-up backgrounds (N, 3, S, S) in [0, 1]: colours that change slowly, faster, and from pixel to pixel."""
    colour = torch.rand(num, 3, 1, 1, generator=generator)
    result = colour.expand(num, 3, size, size)
    for cells in (2, 5, 12, size // 2):
        amount = torch.rand(num, 1, 1, 1, generator=generator) ** 2 * 0.5
        field = torch.randn(num, 3, cells, cells, generator=generator)
        field = field.mean(dim=1, keepdim=True) + 0.5 * field
        result = result + amount * F.interpolate(field, size=(size, size), mode="bilinear", align_corners=False)
    return result.clamp(0, 1)


def _blurred(images: Tensor, sigma_px: float) -> Tensor:
    if sigma_px < 0.2:
        return images
    taps = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma_px) ** 2)
    taps = (taps / taps.sum()).repeat(3, 1)
    images = F.conv2d(F.pad(images, (3, 3, 0, 0), mode="replicate"), taps[:, None, None, :], groups=3)
    return F.conv2d(F.pad(images, (0, 0, 3, 3), mode="replicate"), taps[:, None, :, None], groups=3)


def _sampled(seen: Labelled, matrix: Tensor, size_px: int) -> Labelled:
    """Through affine maps (N, 2, 3) from the picture's [−1, 1]² to the canvas's; unsure beyond the canvas."""
    size = seen.photos.shape[-1]
    # Sampled at about the canvas's own density first, so that small pictures aren't aliased.
    factor = max(1, round(size * _TO_FRAME / size_px))
    fine, own = (
        F.affine_grid(matrix, [len(matrix), 1, side, side], align_corners=False) for side in (size_px * factor, size_px)
    )
    smooth = torch.cat([seen.photos, seen.mattes], dim=1)
    smooth = F.avg_pool2d(F.grid_sample(smooth, fine, padding_mode="border", align_corners=False), factor)
    # Outside, the sampler gives 0.
    known = float(UNSURE) - seen.labels[:, None].float()
    labels = float(UNSURE) - F.grid_sample(known, own, mode="nearest", align_corners=False)[:, 0]
    return Labelled(smooth[:, :3], labels.round().to(torch.uint8), smooth[:, 3:])


def sizes_of_steps(sizes_px: Sequence[int], step: int) -> int:
    """The size of the pictures of a step: the first listed every other step, the others in turn."""
    others = sizes_px[1:]
    return sizes_px[0] if step % 2 == 0 or not others else others[step // 2 % len(others)]
