"""λ to mesh: the morphable model in torch, batched and differentiable.

Source: Deng et al. 2020, Eq. 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from synthface.factors.types import FactorBatch
from synthface.morphable.basis import MorphableBasis


class Factors(NamedTuple):
    """λ as tensors; see `factors.types.FactorBatch` for shapes and units."""

    shape: Tensor
    albedo: Tensor
    expression: Tensor
    sh: Tensor
    pose_rad: Tensor

    @staticmethod
    def of(batch: FactorBatch, *, device: str | torch.device = "cpu") -> Factors:
        """The tensors of a batch, float32."""
        return Factors(*(torch.as_tensor(getattr(batch, name), device=device) for name in Factors._fields))


class Mesh(NamedTuple):
    """A batch of heads in the world (camera) frame, dm.

    Args:
        vertices: (N, V, 3).
        normals: (N, V, 3) unit, outward.
        albedo: (N, V, 3) linear RGB.
    """

    vertices: Tensor
    normals: Tensor
    albedo: Tensor


def rotation_matrix(pose_rad: Tensor) -> Tensor:
    """R_z R_y R_x (N, 3, 3) of angles (N, 3); the torch twin of `factors.pose.rotation_matrix`."""
    cx, cy, cz = torch.cos(pose_rad).unbind(dim=-1)
    sx, sy, sz = torch.sin(pose_rad).unbind(dim=-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


class MorphableModel(nn.Module):
    """Bases as buffers: `model(factors)` gives the mesh. Moves with `.to(device, dtype)`."""

    mean_shape: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    mean_albedo: Tensor
    albedo_basis: Tensor
    faces: Tensor
    landmarks68: Tensor
    landmarks_dense: Tensor

    def __init__(self, basis: MorphableBasis) -> None:
        super().__init__()
        self.basis = basis
        for name in ("mean_shape", "shape_basis", "expression_basis", "mean_albedo", "albedo_basis"):
            array = torch.as_tensor(getattr(basis, name))
            # Bases are kept as (K, 3V) matrices: one product each.
            self.register_buffer(name, array.reshape(len(array), -1) if name.endswith("basis") else array)
        for name in ("faces", "landmarks68", "landmarks_dense"):
            self.register_buffer(name, torch.as_tensor(getattr(basis, name)).to(torch.int64))
        corner_face = self.faces.reshape(-1).argsort(stable=True) // 3
        self.register_buffer("_corner_face", corner_face)
        self.register_buffer("_corner_vertex", self.faces.reshape(-1).sort(stable=True).values)

    def shape(self, shape: Tensor, expression: Tensor) -> Tensor:
        """Vertices (N, V, 3) in the head frame: S = S̄ + B_id α_s + B_exp β."""
        offset = shape @ self.shape_basis + expression @ self.expression_basis
        return self.mean_shape + offset.reshape(len(shape), -1, 3)

    def texture(self, albedo: Tensor) -> Tensor:
        """Albedo (N, V, 3), linear RGB, kept in [0, 1]: T = T̄ + B_t α_t."""
        return (self.mean_albedo + (albedo @ self.albedo_basis).reshape(len(albedo), -1, 3)).clamp(0.0, 1.0)

    def normals(self, vertices: Tensor) -> Tensor:
        """Unit vertex normals (N, V, 3): the mean of the adjacent triangles' normals, weighted by their area."""
        a, b, c = (vertices[:, self.faces[:, k]] for k in range(3))
        face_normals = torch.linalg.cross(b - a, c - a, dim=-1)
        summed = torch.zeros_like(vertices).index_add(
            1, self.get_buffer("_corner_vertex"), face_normals[:, self.get_buffer("_corner_face")]
        )
        return torch.nn.functional.normalize(summed, dim=-1, eps=1e-12)

    def forward(self, factors: Factors) -> Mesh:
        """The heads that λ describes, turned by their pose. Lighting isn't used here."""
        head = self.shape(factors.shape, factors.expression)
        vertices = head @ rotation_matrix(factors.pose_rad).transpose(1, 2)
        return Mesh(vertices, self.normals(vertices), self.texture(factors.albedo))
