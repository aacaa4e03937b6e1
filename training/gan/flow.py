"""v of Eq. 6: where each point of the second picture's face was in the first."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.morphable.camera import clip_to_pixels
from synthface.morphable.rasterizer import Fragments, interpolate


def flow_from_vertices(clip: Tensor, clip_other: Tensor, fragments_other: Fragments, faces: Tensor) -> Tensor:
    """The projected displacement of the mesh, seen on the second picture.

    Args:
        clip, clip_other: (N, V, 4) clip coordinates of both meshes of the pair.
        fragments_other: the second mesh, rasterised.
        faces: (F, 3) triangles.

    Returns:
        (N, H, W, 2) v in fractions of the picture's size, x right, y down: the first picture at p + v(p) shows the same
        point of the surface as the second at p. 0 where the second picture shows no mesh.
    """
    displacement = clip_to_pixels(clip, 1) - clip_to_pixels(clip_other, 1)
    return interpolate(fragments_other, clip_other, faces, displacement)


def valid_pixels(mask: Tensor, mask_other: Tensor) -> Tensor:
    """1 except where the first mask is and the second isn't: what appears there was hidden. Masks (N, 1, H, W)."""
    return 1.0 - mask * (1.0 - mask_other)


def resize_flow(flow: Tensor, size_px: int) -> Tensor:
    """A flow (N, h, w, 2) at another resolution; its unit, the picture's size, stays."""
    if flow.shape[1] == size_px:
        return flow
    resized = F.interpolate(flow.permute(0, 3, 1, 2), size=(size_px, size_px), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def resize_mask(mask: Tensor, size_px: int) -> Tensor:
    """A mask (N, 1, h, w) at another resolution, by averaging or repeating."""
    return mask if mask.shape[-1] == size_px else F.interpolate(mask, size=(size_px, size_px), mode="area")


def no_flow(num_samples: int, size_px: int, device: torch.device | str = "cpu") -> Tensor:
    """v = 0 everywhere."""
    return torch.zeros(num_samples, size_px, size_px, 2, device=device)
