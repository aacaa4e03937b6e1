"""What a fit looks like: photo | re-rendering | over the photo | geometry, and the model's mean and albedo components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from training.fit.surface import framed
from training.photos.prepared import PreparedPhotos

U8 = npt.NDArray[np.uint8]

FITTED, ALBEDO = "fitted.jpg", "albedo.jpg"
_SIZE_PX, _NUM_FACES, _FACES_ACROSS = 128, 40, 3


def write_sheets(
    out: Path, basis: MorphableBasis, photos: PreparedPhotos, factors: Factors, view: npt.NDArray[np.float32]
) -> None:
    """Both sheets, into a folder."""
    rows = np.unique(np.linspace(0, len(photos) - 1, min(_NUM_FACES, len(photos))).round().astype(int))
    _grid(fitted_faces(basis, photos, factors, view, rows), _FACES_ACROSS).save(out / FITTED, quality=88)
    _grid(albedo_pictures(basis), 1).save(out / ALBEDO, quality=88)


@torch.no_grad()
def fitted_faces(
    basis: MorphableBasis,
    photos: PreparedPhotos,
    factors: Factors,
    view: npt.NDArray[np.float32],
    rows: npt.NDArray[np.intp],
) -> list[U8]:
    """A strip (H, 4 W, 3) for each of some photos: photo, re-rendering, re-rendering over the photo, geometry."""
    model = MorphableModel(basis)
    face = torch.from_numpy(np.append(basis.face_mask, False))
    strips = []
    for row in rows:
        one = Factors(*(f[row : row + 1] for f in factors))
        photo = torch.tensor(framed(photos, int(row), view[row], _SIZE_PX)).permute(2, 0, 1)[None] / 127.5 - 1.0
        drawn = render(model, one, _SIZE_PX)
        mask = face[drawn.fragments.face_idx][:, None]
        clay = render(_clay(model), one._replace(sh=_key_light()), _SIZE_PX)
        strips.append(torch.cat([photo, drawn.image, torch.where(mask, drawn.image, photo), clay.image], dim=3))
    return [_pixels(strip) for strip in strips]


@torch.no_grad()
def albedo_pictures(basis: MorphableBasis, *, num_components: int = 12) -> list[U8]:
    """The mean face, then the first components at −2 and +2 standard deviations, under even light."""
    model = MorphableModel(basis)
    num = min(num_components, basis.num_albedo)
    alpha = torch.zeros(1 + 2 * num, basis.num_albedo)
    alpha[1 : 1 + num, :num] = -2 * torch.eye(num)
    alpha[1 + num :, :num] = 2 * torch.eye(num)
    sh = torch.zeros(3, 9)
    sh[:, 0] = 0.8 / (np.pi * 0.28209479)
    count = len(alpha)
    zeros = torch.zeros(count, basis.num_shape), torch.zeros(count, basis.num_expression), torch.zeros(count, 3)
    image = render(model, Factors(zeros[0], alpha, zeros[1], sh.expand(count, 3, 9), zeros[2]), _SIZE_PX).image
    blank = torch.ones(num - 1, 3, _SIZE_PX, _SIZE_PX)
    rows = torch.split(torch.cat([image[:1], blank, image[1:]]), num)
    return [_pixels(torch.cat(list(row), dim=2)[None]) for row in rows]


def _clay(model: MorphableModel) -> MorphableModel:
    """The model in one grey."""
    clay = MorphableModel(model.basis)
    clay.mean_albedo = torch.full_like(clay.mean_albedo, 0.5)
    clay.albedo_basis = torch.zeros_like(clay.albedo_basis)
    return clay


def _key_light() -> torch.Tensor:
    from synthface.factors.lighting import ambient, directional

    light = ambient(np.array([0.35])) + directional(np.array([35.0]), np.array([30.0]), np.array([0.9]))
    return torch.from_numpy(light).float()


def _pixels(image: torch.Tensor) -> U8:
    return ((image[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def _grid(pictures: list[U8], across: int) -> Image.Image:
    height, width = pictures[0].shape[:2]
    sheet = Image.new("RGB", (across * width, -(-len(pictures) // across) * height), (250, 250, 248))
    for n, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (n % across * width, n // across * height))
    return sheet
