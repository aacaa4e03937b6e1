"""From surfaces to pictures under any skin and light, before any background; and how pictures are worn down."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import linear_to_srgb, shading, srgb_to_linear
from training.reconstruct.recipe import Augmentation


@dataclass(frozen=True)
class Skin:
    """What shading needs of a morphable model.

    Args:
        mean: (V, 3) mean albedo.
        basis: (Kt, 3V).
        faces: (F, 3).
        is_scalp: (V,).
    """

    mean: Tensor
    basis: Tensor
    faces: Tensor
    is_scalp: Tensor

    @staticmethod
    def of(basis: MorphableBasis) -> Skin:
        """A morphable model's."""
        is_scalp = torch.zeros(basis.num_vertices, dtype=torch.bool)
        if "scalp" in basis.part_names:
            is_scalp[np.unique(basis.faces[basis.face_part == basis.part_names.index("scalp")])] = True
        mean, components = torch.from_numpy(basis.mean_albedo), torch.from_numpy(basis.albedo_basis)
        return Skin(mean, components.flatten(1), torch.from_numpy(basis.faces).long(), is_scalp)

    def albedo(self, coefficients: Tensor) -> Tensor:
        """(N, V, 3) linear RGB of coefficients (N, Kt)."""
        return (self.mean + (coefficients @ self.basis).reshape(len(coefficients), -1, 3)).clamp(0.0, 1.0)


def with_hair(albedo: Tensor, skin: Skin, share: float, *, rng: np.random.Generator) -> Tensor:
    """Albedo (N, V, 3) whose scalps, or a share of them, have another, uneven colour: hair, as far as a bald head goes."""
    scalp = torch.nonzero(skin.is_scalp)[:, 0]
    albedo = albedo.clone()
    for n in np.flatnonzero(rng.random(len(albedo)) < share):
        colour = np.exp(rng.uniform(np.log(0.01), np.log(0.5))) * np.array([1.0, 0.75, 0.5]) ** rng.uniform(0, 1.2)
        strands = np.exp(0.5 * rng.standard_normal((len(scalp), 1), dtype=np.float32))
        albedo[n, scalp] = torch.from_numpy((colour * strands).astype(np.float32)).clamp_max(1.0)
    return albedo


def shade(surface: Tensor, albedo: Tensor, faces: Tensor, sh: Tensor) -> Tensor:
    """Linear RGB and coverage (N, 4, s, s) of surfaces (N, 7, s, s; see `bank`), skins (N, V, 3) and lights (N, 3, 9)."""
    # One head at a time: what it needs stays in the cache.
    heads = zip(surface.flatten(2), albedo, sh, strict=True)
    return torch.stack([_shade_one(*head, faces) for head in heads]).reshape(len(surface), 4, *surface.shape[2:])


def _shade_one(surface: Tensor, albedo: Tensor, sh: Tensor, faces: Tensor) -> Tensor:
    triangle = surface[3].int() + 256 * surface[4].int()
    where = torch.nonzero(triangle)[:, 0]
    corners = faces[triangle[where] - 1].T  # (3, P)
    seen = surface[:, where].float()
    first, second = seen[5] / 255, seen[6] / 255
    colours = albedo.T.contiguous()
    skin = colours[:, corners[0]] * first + colours[:, corners[1]] * second
    skin += colours[:, corners[2]] * (1 - first - second).clamp_min(0)
    normal = seen[:3] - 128.0
    normal *= torch.rsqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2 + 1e-6)
    lit = (skin * shading(normal.T[None], sh[None])[0].T).clamp(0.0, 1.0)
    picture = torch.zeros(4, surface.shape[1])
    picture[:, where] = torch.cat([lit, torch.ones_like(lit[:1])])
    return picture


def over(picture: Tensor, background: Tensor) -> Tensor:
    """Linear pictures (N, 4, H, W) over linear backgrounds (N, 3, H, W): sRGB in [−1, 1]."""
    return 2.0 * linear_to_srgb(picture[:, :3] + (1 - picture[:, 3:]) * background) - 1.0


def backgrounds(num: int, size_px: int, corners: Tensor | None, *, rng: np.random.Generator) -> Tensor:
    """(N, 3, size, size), linear: patches of photos' corners where there are some (M, 3, p, p; sRGB in [0, 1]), ramps, noise.

    Noise of several grains, so that a head doesn't stand out by being the only thing with detail.
    """
    result = torch.empty(num, 3, size_px, size_px)
    for n in range(num):
        kind = rng.random()
        if corners is not None and kind < 0.5:
            patch = corners[int(rng.integers(len(corners)))]
            side = int(rng.integers(patch.shape[-1] // 3, patch.shape[-1] + 1))
            top, left = (int(rng.integers(patch.shape[-1] - side + 1)) for _ in range(2))
            small = patch[:, top : top + side, left : left + side]
        else:
            grain = int(rng.choice([1, 2, 3, 5, 9, 28]))
            base, spread = rng.uniform(0, 1, (3, 1, 1)), rng.uniform(0, 0.35)
            small = torch.from_numpy((base + spread * rng.normal(size=(3, grain, grain))).clip(0, 1)).float()
        small = srgb_to_linear(small[None])
        result[n] = F.interpolate(small, size=(size_px, size_px), mode="bilinear", align_corners=False)[0]
    return result


def wear(images: Tensor, strength: Augmentation, *, rng: np.random.Generator) -> Tensor:
    """Pictures (N, 3, s, s) in [−1, 1] hidden in part, blurred, coarsened, compressed and with noise, each by itself."""
    images = _hide(images, _chosen(images, strength.hidden, rng), rng)
    coarse = _chosen(images, strength.coarse, rng)
    if len(coarse):
        size = images.shape[-1]
        small = F.interpolate(
            images[coarse], size=(int(rng.integers(size // 4, 2 * size // 3)),) * 2, mode="bilinear", antialias=True
        )
        images = images.index_copy(0, coarse, F.interpolate(small, size=(size, size), mode="bilinear"))
    blurred = _chosen(images, strength.blur, rng)
    if len(blurred):
        images = images.index_copy(0, blurred, blur(images[blurred], float(rng.uniform(0.3, 1.2))))
    num = len(images)
    gain, offset = (torch.from_numpy(rng.normal(size=(num, 1, 1, 1))).float() * strength.colour for _ in range(2))
    noise = torch.from_numpy(rng.uniform(0, 1, (num, 1, 1, 1)) ** 2).float() * strength.noise
    images = ((1 + gain) * images + offset + noise * _grain(images.shape, rng)).clamp(-1, 1)
    for n in _chosen(images, strength.jpeg, rng).tolist():
        images[n] = _through_jpeg(images[n], int(rng.integers(25, 90)))
    return images


def blur(images: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur, edges repeated."""
    from training.gan.losses import blur as gaussian

    return gaussian(images, taps=5, sigma_px=sigma_px)


def _chosen(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.flatnonzero(rng.random(len(images)) < share))


@lru_cache(maxsize=1)
def _normal() -> Tensor:
    return torch.randn(1 << 21, generator=torch.Generator().manual_seed(0))


def _grain(shape: torch.Size, rng: np.random.Generator) -> Tensor:
    """Standard normal noise, for each picture from another place of a long row of it: much cheaper than drawing it anew."""
    length, row = shape[1:].numel(), _normal()
    starts = rng.integers(0, len(row) - length, shape[0])
    return torch.stack([row[start : start + length] for start in starts]).reshape(shape)


def _hide(images: Tensor, rows: Tensor, rng: np.random.Generator) -> Tensor:
    images, size = images.clone(), images.shape[-1]
    for n in rows.tolist():
        height, width = (int(size * rng.uniform(0.08, 0.4)) for _ in range(2))
        # Mostly at the rim, where hair and hands are.
        top, left = (round((size - s) * float(rng.beta(0.5, 0.5))) for s in (height, width))
        patch = backgrounds(1, 8, None, rng=rng)
        patch = F.interpolate(patch, size=(height, width), mode="bilinear")[0]
        images[n, :, top : top + height, left : left + width] = patch * 2 - 1
    return images


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    pixels = ((image + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    again = np.asarray(Image.open(buffer).convert("RGB")).copy()
    return torch.from_numpy(again).permute(2, 0, 1).float() / 127.5 - 1.0
