"""A few rendered heads as prepared photos with a λ table, and the bank of the tiny recipe."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from synthface.factors.types import FactorBatch
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from training.lambda_table import LambdaTable, write_table
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX
from training.photos.prepared import PhotoRows, write_prepared
from training.reconstruct.draw import draw_geometry, draw_light
from training.reconstruct.overlay import overlay
from training.reconstruct.photos import split

#: The prepared frame against the camera's view of λ: log zoom, x, y in fractions.
VIEW = (0.05, 0.02, -0.03)


def factors_of(basis: MorphableBasis, num: int, seed: int = 0) -> FactorBatch:
    """Mild heads."""
    rng = np.random.default_rng(seed)
    geometry = draw_geometry(num, basis.num_shape, basis.expression_names, None, rng=rng)
    albedo = (0.5 * rng.normal(size=(num, basis.num_albedo))).astype(np.float32)
    light, pose = draw_light(num, None, rng=rng), 0.4 * geometry.pose_rad
    return FactorBatch(geometry.shape, albedo, geometry.expression, light, pose, np.zeros((num, 1), np.float32))


def keys_of_every_kind(num: int) -> tuple[str, ...]:
    """Keys, a third each held out, of the first half and of the second."""
    kinds: dict[int, list[str]] = {-1: [], 0: [], 1: []}
    number = 0
    while min(map(len, kinds.values())) < -(-num // 3):
        key = f"head_{number}"
        kinds[int(split([key])[0])].append(key)
        number += 1
    return tuple(key for row in zip(*kinds.values(), strict=False) for key in row)[:num]


def write_photos(folder: Path, basis: MorphableBasis, num: int = 9, num_landmarks: int = 68) -> Path:
    """A prepared folder of renderings, and their λ table at `folder/lambda.parquet`; returns the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    model, batch = MorphableModel(basis), factors_of(basis, num)
    share = FRAME_PX / CANVAS_PX
    # In the canvas the frame is smaller, about the middle.
    view = torch.tensor([VIEW[0] + np.log(share), VIEW[1] * share, VIEW[2] * share]).float().expand(num, 3)
    photos, points = [], []
    for n in range(num):
        one = Factors.of(batch[n : n + 1])
        with torch.no_grad():
            seen = overlay(model, one, view[:1], CANVAS_PX)
        pixels = ((seen.image[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        photos.append(buffer.getvalue())
        points.append(_landmarks(model, one, view[:1]) * CANVAS_PX)
    keys, ones = keys_of_every_kind(num), np.ones(num, np.float32)
    crop = np.tile(np.array([1.0, -MARGIN_PX, -MARGIN_PX], np.float32), (num, 1))
    landmarks = np.stack(points).astype(np.float32)[:, :num_landmarks]
    write_prepared(folder, PhotoRows(keys, keys, crop, landmarks, ones, ones, ones), photos)
    table = LambdaTable.of(batch, keys, basis.expression_names, basis.name)
    zoom, half = np.exp(VIEW[0]), FRAME_PX / 2
    fitted = np.tile(
        np.array([1 / zoom, *((-MARGIN_PX - half - FRAME_PX * np.array(VIEW[1:])) / zoom + half)]), (num, 1)
    )
    write_table(folder / "lambda.parquet", table, extra={"crop": fitted})
    return folder / "lambda.parquet"


def _landmarks(model: MorphableModel, factors: Factors, view: torch.Tensor) -> np.ndarray:
    from synthface.networks.points import in_picture

    return in_picture(model(factors).vertices[:, model.landmarks68], view)[0].numpy()
