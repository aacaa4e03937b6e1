"""The bank: heads seen at many poses, kept as surfaces rather than as pictures.

What is slow is finding which triangle is seen at each pixel; skin and light are cheap. So a pixel keeps its triangle, its place
in it and its normal, and every time a row is read it gets another skin and another light.

A folder of `part-NNNN.safetensors`, each with M rows of a canvas of s² px (the camera's view and a margin around it, as
prepared photos have):

    surface     u8  (M, 7, s, s)   normal (x, y, z, 127 · n + 128), triangle + 1 (low and high byte; 0 is nothing), and the
                                   first two barycentric coordinates (times 255)
    shape       f32 (M, Ks)        and expression (M, Ke), pose_rad (M, 3): the λ of the geometry

The bank belongs to the geometry of one morphable model (`geometry_digest`); its albedo may change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.errors import DatasetError
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import MorphableModel, rotation_matrix
from synthface.morphable.rasterizer import blend, rasterize
from training.gan.mapped import MappedTensors, write_mapped
from training.lambda_table import LambdaTable
from training.photos.align import CANVAS_PX, FRAME_PX
from training.reconstruct.draw import Geometry, draw_geometry

FORMAT = "synthface-surfaces-1"
#: The canvas's side over the view's.
CANVAS_SHARE = CANVAS_PX / FRAME_PX
_CHUNK = 10


@dataclass(frozen=True)
class BankRecipe:
    """How large a bank is.

    Args:
        num: heads.
        size_px: of the canvas.
        part: heads per file; what is lost when the work is stopped.
        seed: of everything.
    """

    num: int = 25_000
    size_px: int = 140
    part: int = 500
    seed: int = 0


@dataclass(frozen=True)
class SurfaceRows:
    """M heads; see the module's docstring."""

    surface: Tensor
    shape: Tensor
    expression: Tensor
    pose_rad: Tensor


class Bank:
    """Surfaces by row.

    Args:
        folder: what `build_bank` wrote, whole or not yet.
        basis: the morphable model that it is read with.

    Raises:
        DatasetError: there are no parts, or they are of another geometry.
    """

    def __init__(self, folder: Path, basis: MorphableBasis) -> None:
        paths = sorted(folder.glob("part-*.safetensors"))
        if not paths:
            raise DatasetError(f"{folder}: no bank there; `python -m training reconstruct bank` makes one")
        self._parts = [MappedTensors(path, FORMAT) for path in paths]
        wanted = geometry_digest(basis)
        for part in self._parts:
            if part.metadata["geometry"] != wanted:
                raise DatasetError(
                    f"{part.path}: its geometry is {part.metadata['geometry'][:12]}…, the morphable model's {wanted[:12]}…; "
                    "build the bank anew"
                )
        self._starts = np.cumsum([0, *(len(part["shape"]) for part in self._parts)])
        self.expression = np.concatenate([np.asarray(part["expression"]) for part in self._parts])
        self.size_px: int = self._parts[0]["surface"].shape[-1]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, index: npt.NDArray[np.int64]) -> SurfaceRows:
        """Rows by number (N,)."""
        which = np.searchsorted(self._starts, index, side="right") - 1
        local = index - self._starts[which]
        columns = (
            torch.from_numpy(np.stack([self._parts[p][name][r] for p, r in zip(which, local, strict=True)]))
            for name in ("surface", "shape", "expression", "pose_rad")
        )
        return SurfaceRows(*columns)


def build_bank(
    folder: Path,
    basis: MorphableBasis,
    table: LambdaTable | None,
    recipe: BankRecipe,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Make the parts that aren't there yet. Each draws from its own seed: a bank built in two goes is the same."""
    folder.mkdir(parents=True, exist_ok=True)
    model = MorphableModel(basis)
    for number, start in enumerate(range(0, recipe.num, recipe.part)):
        path = folder / f"part-{number:04d}.safetensors"
        if path.exists():
            continue
        rng = np.random.default_rng([recipe.seed, number])
        num = min(recipe.part, recipe.num - start)
        geometry = draw_geometry(num, basis.num_shape, basis.expression_names, table, rng=rng)
        arrays: dict[str, npt.NDArray[Any]] = {"surface": surfaces(model, geometry, recipe.size_px), **vars(geometry)}
        metadata = {"format": FORMAT, "geometry": geometry_digest(basis), "morphable_model": basis.name}
        write_mapped(path, arrays, metadata)
        report(f"bank: {start + num}/{recipe.num}")


@torch.no_grad()
def surfaces(model: MorphableModel, geometry: Geometry, size_px: int) -> npt.NDArray[np.uint8]:
    """What is seen of N heads on the canvas, (N, 7, size, size)."""
    pieces = []
    for start in range(0, len(geometry.shape), _CHUNK):
        shape, expression, pose = (torch.from_numpy(x[start : start + _CHUNK]) for x in vars(geometry).values())
        vertices = model.shape(shape, expression) @ rotation_matrix(pose).transpose(1, 2)
        clip = camera.project(vertices)
        clip[..., :2] /= CANVAS_SHARE
        seen = rasterize(clip, model.faces, size_px, size_px)
        normals = blend(seen.face_idx, seen.bary, model.faces, model.normals(vertices))
        normals = torch.nn.functional.normalize(normals, dim=-1, eps=1e-12)
        number = seen.face_idx + 1
        planes = [*(normals * 127 + 128).round().unbind(-1), number % 256, number // 256]
        planes += (seen.bary[..., :2] * 255).round().clamp(0, 255).unbind(-1)
        pieces.append(torch.stack([plane.to(torch.uint8) for plane in planes], dim=1).numpy())
    return np.concatenate(pieces)


def geometry_digest(basis: MorphableBasis) -> str:
    """SHA-256 of what decides where a λ's pixels lie."""
    sha = hashlib.sha256("\n".join(basis.expression_names).encode())
    for name in ("mean_shape", "shape_basis", "expression_basis", "faces"):
        sha.update(np.ascontiguousarray(getattr(basis, name)).tobytes())
    return sha.hexdigest()
