"""What colour a photo has at each vertex of the fitted face, and how far that can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from synthface.morphable import camera
from synthface.morphable.lighting import srgb_to_linear
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.rasterizer import rasterize
from synthface.morphable.scene import VISIBILITY_TOLERANCE_DM
from training.photos.align import MARGIN_PX, cut
from training.photos.prepared import PreparedPhotos

F32 = npt.NDArray[np.float32]

#: Size of the picture that vertices are looked up in: about a pixel per vertex spacing, so that sampling doesn't alias.
SIZE_PX = 128


@dataclass(frozen=True)
class Surface:
    """N photos on the V_f vertices of the face mask.

    Args:
        vertices: (V_f,) vertex indices.
        colour: (N, V_f, 3) linear RGB in [0, 1], float16.
        normals: (N, V_f, 3) unit, camera frame, float16.
        weight: (N, V_f) cosine between the normal and the viewing ray where the vertex is seen, else 0; float16.
    """

    vertices: npt.NDArray[np.intp]
    colour: Tensor
    normals: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.colour)


def recrop(crop: F32, view: F32) -> F32:
    """(N, 3) crops that bring the model's picture onto the camera's view.

    Args:
        crop: (N, 3) source px to px of the frame that was fitted in.
        view: (N, 3) what the fit found: log k, d_x, d_y.
    """
    from training.photos.align import FRAME_PX

    shrink = np.exp(-view[:, :1])
    half = FRAME_PX / 2
    return np.concatenate([crop[:, :1] * shrink, (crop[:, 1:] - half - view[:, 1:]) * shrink + half], axis=1)


def framed(photos: PreparedPhotos, row: int, view: F32, size_px: int) -> npt.NDArray[np.uint8]:
    """Photo `row` (size, size, 3) as the camera of the fitted model sees it; `view` (3,) as `recrop` takes it."""
    canvas = Image.fromarray(photos.photo(row))
    identity = np.array([[1.0, -MARGIN_PX, -MARGIN_PX]])
    return np.asarray(cut(canvas, recrop(identity, view[None].astype(np.float64))[0], size_px)[0])


def sample_surface(
    model: MorphableModel, photos: Iterator[npt.NDArray[np.uint8]], factors: Factors, *, batch: int = 50
) -> Surface:
    """Look up photos at the vertices of the fitted faces.

    Args:
        model: the morphable model.
        photos: N framed photos (`SIZE_PX`², 3), one after the other.
        factors: (N) λ; albedo and lighting aren't looked at.
        batch: photos at a time.
    """
    vertices = model.basis.face_vertices
    colours, normals, weights = [], [], []
    for start in range(0, len(factors.shape), batch):
        part = Factors(*(f[start : start + batch] for f in factors))
        pixels = np.stack([next(photos) for _ in range(len(part.shape))])
        linear = srgb_to_linear(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        with torch.no_grad():
            colour, normal, weight = _look_up(model, linear, part, vertices)
        colours.append(colour.half())
        normals.append(normal.half())
        weights.append(weight.half())
    return Surface(vertices, torch.cat(colours), torch.cat(normals), torch.cat(weights))


def _look_up(
    model: MorphableModel, linear: Tensor, factors: Factors, vertices: npt.NDArray[np.intp]
) -> tuple[Tensor, Tensor, Tensor]:
    mesh = model(factors)
    clip = camera.project(mesh.vertices)
    size = linear.shape[-1]
    zbuf = rasterize(clip, model.faces, size, size).zbuf
    index = torch.from_numpy(vertices)
    ours = clip[:, index]
    where = ours[..., :2] / ours[..., 3:] * torch.tensor([1.0, -1.0])
    grid = where[:, :, None]
    colour = torch.nn.functional.grid_sample(linear, grid, align_corners=False, padding_mode="border")[..., 0]
    nearest = _nearest_depth(zbuf, where)
    inside = (where.abs() < 1).all(dim=-1)
    seen = inside & (ours[..., 3] < nearest + 2 * VISIBILITY_TOLERANCE_DM)
    normal = mesh.normals[:, index]
    view = torch.tensor([0.0, 0.0, camera.DISTANCE_DM]) - mesh.vertices[:, index]
    cosine = (normal * torch.nn.functional.normalize(view, dim=-1)).sum(-1)
    return colour.transpose(1, 2), normal, torch.where(seen, cosine.clamp_min(0), torch.zeros_like(cosine))


def _nearest_depth(zbuf: Tensor, where: Tensor) -> Tensor:
    """Depth (N, V) seen at points (N, V, 2) in [−1, 1]; the farther of the pixels around, infinite where none is covered."""
    size = zbuf.shape[-1]
    pixel = ((where + 1) * (0.5 * size)).long().clamp(0, size - 1)
    return zbuf[torch.arange(len(zbuf))[:, None], pixel[..., 1], pixel[..., 0]]
