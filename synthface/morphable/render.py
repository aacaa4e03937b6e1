"""λ to picture: x̂, the shaded rendering of the morphable model. Differentiable in colour and geometry."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from synthface.morphable import camera
from synthface.morphable.lighting import linear_to_srgb, shading
from synthface.morphable.model import Factors, Mesh, MorphableModel
from synthface.morphable.rasterizer import Backend, Fragments, barycentric, blend, rasterize


class Rendered(NamedTuple):
    """A batch of pictures and what they show.

    Args:
        image: (N, 3, H, W) sRGB in [−1, 1].
        coverage: (N, 1, H, W) how much of the pixel the head covers, in [0, 1].
        mesh: the heads.
        fragments: what was rasterised, at `size_px · supersample`.
        clip: (N, V, 4) the projected vertices.
    """

    image: Tensor
    coverage: Tensor
    mesh: Mesh
    fragments: Fragments
    clip: Tensor


def render(
    model: MorphableModel,
    factors: Factors,
    size_px: int,
    *,
    supersample: int = 1,
    background: Tensor | None = None,
    backend: Backend = "builtin",
) -> Rendered:
    """Picture heads under their lighting.

    Args:
        model: the morphable model.
        factors: λ of N samples.
        size_px: H = W of the result.
        supersample: samples per pixel and axis, averaged in linear light; 1 leaves jagged edges.
        background: (N or 1, 3, H, W) linear RGB behind the head; None is black.
        backend: see `rasterize`.

    Source: Deng et al. 2020, Sec. 3.1; albedo times Lambertian SH shading. Unlike the authors we shade in linear light
    and encode the result as sRGB, so that intensities, colour temperatures and environment maps mean what they say.
    """
    mesh = model(factors)
    clip = camera.project(mesh.vertices)
    fine = size_px * supersample
    fragments = rasterize(clip, model.faces, fine, fine, backend=backend)
    linear, covered = shade(fragments, clip, model.faces, mesh, factors.sh)
    linear, covered = (downsample(x, supersample) for x in (linear, covered))
    if background is not None:
        linear = linear + (1.0 - covered) * background
    return Rendered(2.0 * linear_to_srgb(linear) - 1.0, covered, mesh, fragments, clip)


def shade(fragments: Fragments, clip: Tensor, faces: Tensor, mesh: Mesh, sh: Tensor) -> tuple[Tensor, Tensor]:
    """Linear RGB (N, 3, H, W), black behind the head, and its coverage (N, 1, H, W), at the fragments' resolution."""
    bary = fragments.bary
    if clip.requires_grad:
        bary, _ = barycentric(fragments.face_idx, clip, faces)
    pixels = blend(fragments.face_idx, bary, faces, torch.cat([mesh.normals, mesh.albedo], dim=-1))
    normals = torch.nn.functional.normalize(pixels[..., :3], dim=-1, eps=1e-12)
    lit = (pixels[..., 3:] * shading(normals, sh)).clamp_min(0.0)
    covered = (fragments.face_idx >= 0)[:, None].to(lit.dtype)
    # Highlights beyond white would bleed over the edge when averaged: clip each sample, as a sensor does.
    return lit.clamp_max(1.0).permute(0, 3, 1, 2) * covered, covered


def downsample(image: Tensor, factor: int) -> Tensor:
    """Box average (N, C, H·f, W·f) → (N, C, H, W)."""
    return image if factor == 1 else torch.nn.functional.avg_pool2d(image, factor)
