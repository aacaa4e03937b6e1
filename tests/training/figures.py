"""Drawn people for tests of the face parser: flat colours with grain, and what is at each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from training.fit.correspondence import FILE, Correspondence
from training.gan.pack import encode_photo
from training.parser.geometry import BACKGROUND, BODY, HAIR, SKIN, face_map
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX
from training.photos.prepared import PhotoRows, write_prepared

SKIN_RGB, HAIR_RGB, SHIRT_RGB, WALL_RGB = (205, 160, 135), (70, 45, 30), (60, 90, 160), (190, 190, 185)


@lru_cache(maxsize=1)
def landmarks() -> np.ndarray:
    """(468, 2) the mean head's landmarks, px of the canvas."""
    with np.load(FILE) as file:
        on_mesh = Correspondence(file["vertices"], file["weights"], file["deviation_dm"])
    points = on_mesh.on(torch.from_numpy(MorphableBasis.load().mean_shape)[None])[0]
    return (camera.to_pixels(points, FRAME_PX) + MARGIN_PX).double().numpy()


@dataclass(frozen=True)
class Figure:
    """A picture (S, S, 3), who is in it (S, S) in [0, 1], its landmarks (468, 2) in px, and what is where (S, S)."""

    photo: np.ndarray
    matte: np.ndarray
    landmarks: np.ndarray
    truth: np.ndarray


def figure(
    *,
    size_px: int = CANVAS_PX // 2,
    hair: tuple[int, int, int] | None = HAIR_RGB,
    shirt: tuple[int, int, int] = SHIRT_RGB,
    seed: int = 0,
) -> Figure:
    """A person from the front with hair down to the chin; `hair` None is bald."""
    points = landmarks() * size_px / CANVAS_PX
    left, right, chin, top = points[234, 0], points[454, 0], points[152, 1], points[10, 1]
    width, height = right - left, chin - top
    middle = (left + right) / 2
    kinds = Image.new("L", (size_px, size_px))
    draw = ImageDraw.Draw(kinds)
    shoulders = [(middle + side * width * x, chin + height * y) for side, x, y in _SHOULDERS]
    draw.polygon(shoulders, fill=BODY)
    skull = (left - 0.12 * width, top - 0.35 * height, right + 0.12 * width, chin - 0.1 * height)
    draw.ellipse(skull, fill=SKIN if hair is None else HAIR)
    neck = (middle - 0.24 * width, chin - 0.2 * height, middle + 0.24 * width, chin + 0.2 * height)
    draw.rectangle(neck, fill=BODY)
    truth = np.array(kinds)
    face = face_map(points, size_px)
    truth[face.parts != BACKGROUND] = face.parts[face.parts != BACKGROUND]
    neck_pixels = np.zeros_like(truth, bool)
    neck_pixels[int(neck[1]) : int(neck[3]), int(neck[0]) : int(neck[2])] = True
    colours = np.array(
        [WALL_RGB, SKIN_RGB, hair or SKIN_RGB, shirt, (60, 40, 30), (90, 80, 70), (170, 80, 80), (200, 190, 180)]
    )
    photo = colours[truth].astype(np.float64)
    photo[neck_pixels & (truth == BODY)] = np.array(SKIN_RGB) * 0.85
    photo += np.random.default_rng(seed).normal(0, 5, photo.shape)
    return Figure(photo.clip(0, 255).astype(np.uint8), (truth != BACKGROUND).astype(np.float64), points, truth)


def matte_of(photo: np.ndarray, size_px: int) -> np.ndarray:
    """Who stands before the wall: whatever hasn't its colour."""
    small = np.asarray(Image.fromarray(photo).resize((size_px, size_px), Image.Resampling.BOX), np.float64)
    return (np.abs(small - WALL_RGB).max(axis=-1) > 25).astype(np.float64)


_SHOULDERS = ((-1, 0.3, 0.1), (1, 0.3, 0.1), (1, 0.9, 0.3), (1, 0.9, 2.0), (-1, 0.9, 2.0), (-1, 0.9, 0.3))


def prepared_figures(folder: Path, num: int) -> Path:
    """A prepared folder of drawn people of different hair and shirts."""
    rng = np.random.default_rng(0)
    drawn = [
        figure(
            size_px=CANVAS_PX,
            hair=tuple(rng.integers(20, 100, 3).tolist()),
            shirt=tuple(rng.integers(40, 220, 3).tolist()),
            seed=n,
        )
        for n in range(num)
    ]
    names = tuple(f"{n:04d}" for n in range(num))
    ones = np.ones(num, np.float32)
    crop = np.tile(np.float32([1, 0, 0]), (num, 1))
    points = np.stack([f.landmarks for f in drawn]).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    write_prepared(
        folder,
        PhotoRows(names, names, crop, points, ones, ones, ones),
        (encode_photo(f.photo, quality=95) for f in drawn),
    )
    return folder
