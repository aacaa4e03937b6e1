"""The reconstruction laid over its photo: λ rendered in the view that was read off the picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from synthface.morphable import camera
from synthface.morphable.lighting import linear_to_srgb
from synthface.morphable.model import Factors, Mesh, MorphableModel
from synthface.morphable.rasterizer import rasterize
from synthface.morphable.render import shade


class Overlay(NamedTuple):
    """Renderings in N pictures.

    Args:
        image: (N, 3, s, s) sRGB in [−1, 1], black behind the head.
        head: (N, 1, s, s) whether the head is seen.
        face: (N, 1, s, s) whether the face's region is.
        normals: (N, 3, s, s) unit, camera frame; 0 behind the head.
        mesh: the heads.
    """

    image: Tensor
    head: Tensor
    face: Tensor
    normals: Tensor
    mesh: Mesh


def overlay(
    model: MorphableModel, factors: Factors, view: Tensor, size_px: int, *, with_normals: bool = False
) -> Overlay:
    """Render λ where `view` (N, 3) says; see `networks.reconstruction.Reconstructed`. Differentiable in λ and view."""
    mesh = model(factors)
    clip = camera.project(mesh.vertices)
    depth = clip[..., 3:]
    shift = view[:, None, 1:] * clip.new_tensor([2.0, -2.0])
    clip = torch.cat([clip[..., :2] * view[:, None, :1].exp() + shift * depth, clip[..., 2:]], dim=-1)
    fragments = rasterize(clip, model.faces, size_px, size_px)
    linear, covered = shade(fragments, clip, model.faces, mesh, factors.sh)
    is_face = torch.as_tensor(np.append(model.basis.face_mask, False), device=view.device)
    face = is_face[fragments.face_idx][:, None].float()
    normals = torch.zeros_like(linear)
    if with_normals:
        white = Mesh(mesh.vertices, mesh.normals, mesh.normals * 0.5 + 0.5)
        flat = torch.zeros_like(factors.sh)
        flat[..., 0] = 1.0 / (np.pi * 0.28209479177387814)
        normals = (shade(fragments, clip, model.faces, white, flat)[0] * 2 - 1) * covered
    return Overlay(2.0 * linear_to_srgb(linear) - 1.0, covered, face, normals, mesh)
