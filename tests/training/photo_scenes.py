"""Photos for tests: heads rendered by the bundled model, put into generated surroundings."""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render

HEAD_PX = 256


class Dying:
    """A detector that takes its process with it."""

    def find(self, photo: np.ndarray, near: np.ndarray | None = None) -> list[object]:
        os._exit(1)


class Failing:
    """A detector that raises."""

    def find(self, photo: np.ndarray, near: np.ndarray | None = None) -> list[object]:
        raise RuntimeError("out of order")


@lru_cache(maxsize=1)
def _model() -> MorphableModel:
    return MorphableModel(MorphableBasis.load()).eval()


@lru_cache(maxsize=8)
def head(seed: int, yaw_deg: float = 0.0) -> tuple[Image.Image, np.ndarray]:
    """A head (`HEAD_PX`²) on grey, and its 68 landmarks (68, 2) in px as the mesh has them."""
    model, rng = _model(), np.random.default_rng(seed)
    basis = model.basis
    sh = np.zeros((3, 9))
    sh[:, 0], sh[:, 2], sh[:, 1] = 0.62 / (np.pi * 0.282095), 0.3, -0.1
    arrays = (
        0.5 * rng.normal(size=basis.num_shape),
        0.3 * rng.normal(size=basis.num_albedo),
        np.zeros(basis.num_expression),
        sh,
        np.radians([0, yaw_deg, 0]),
    )
    factors = Factors(*(torch.tensor(a, dtype=torch.float32)[None] for a in arrays))
    with torch.no_grad():
        shown = render(model, factors, HEAD_PX, supersample=2, background=torch.full((1, 3, 1, 1), 0.4))
    pixels = ((shown.image[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    points = camera.to_pixels(shown.mesh.vertices, HEAD_PX)[0, torch.from_numpy(basis.landmarks68).long()]
    return Image.fromarray(pixels), points.double().numpy()


def surroundings(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth coloured blobs: sharp enough to look like something, nothing like a face."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, size=(max(2, height // 60), max(2, width // 60), 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def scene(
    size: tuple[int, int], heads: list[tuple[int, float, float, float]], *, seed: int = 0
) -> tuple[Image.Image, list[np.ndarray]]:
    """Surroundings with heads (seed, side in px, left, top) in them, and the 68 landmarks of each in px of the scene."""
    picture, landmarks = surroundings(*size, seed=seed), []
    for which, side, left, top in heads:
        image, points = head(which)
        scaled = image.resize((round(side), round(side)), Image.Resampling.LANCZOS)
        picture.paste(scaled, (round(left), round(top)))
        landmarks.append(points * round(side) / HEAD_PX + [round(left), round(top)])
    return picture, landmarks
