"""What training does to pictures: the augmentation that face recognition uses, and its effect on points.

Pictures are uint8 (H, W, 3) until the network. Each change happens with its own probability; geometry comes first and is a
matrix, so that labels can go through it too.

Source: Kim et al. 2022 (AdaFace, Sec. 4.1: crop, low resolution, colour, each with probability 0.2); Bae et al. 2023
(DigiFace-1M, Sec. 4: blur and JPEG besides).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from synthface.crops import Crop

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AugmentSettings:
    """How often each change happens, and how far it goes at most.

    Args:
        flip, crop, colour, grey, low_resolution, blur, jpeg: probabilities.
        zoom: the crop keeps between 1 − zoom and 1 of the side, somewhere in the picture; it may also show more.
        shift: of the side, by which a crop moves.
        roll_deg: by which a crop turns.
        colour_gain: brightness, contrast and saturation change by factors within 1 ± this.
        least_px: the smallest side that low resolution goes through, as a share of the picture's.
        blur_px: standard deviation in pixels of a picture of 112.
        jpeg_quality: from, to.
    """

    flip: float = 0.5
    crop: float = 0.2
    colour: float = 0.2
    grey: float = 0.02
    low_resolution: float = 0.2
    blur: float = 0.1
    jpeg: float = 0.2
    zoom: float = 0.2
    shift: float = 0.05
    roll_deg: float = 0.0
    colour_gain: float = 0.5
    least_px: float = 0.25
    blur_px: float = 1.5
    jpeg_quality: tuple[int, int] = (30, 95)


#: Nothing is changed.
NO_CHANGE = AugmentSettings(flip=0, crop=0, colour=0, grey=0, low_resolution=0, blur=0, jpeg=0)


def augment(image: U8, size_px: int, settings: AugmentSettings, rng: np.random.Generator) -> tuple[U8, F64, bool]:
    """A changed picture (size, size, 3), the matrix (2, 3) from the old pixels to the new, and whether it was mirrored."""
    matrix, mirrored = random_warp(image.shape[0], size_px, settings, rng)
    return degrade(warp(image, matrix, size_px), settings, rng), matrix, mirrored


def random_warp(from_px: int, to_px: int, settings: AugmentSettings, rng: np.random.Generator) -> tuple[F64, bool]:
    """Matrix (2, 3) from pixels of a picture to those of another, and whether it mirrors."""
    mirrored = bool(rng.random() < settings.flip)
    scale, angle, move = to_px / from_px, 0.0, np.zeros(2)
    if rng.random() < settings.crop:
        scale *= 1 / rng.uniform(1 - settings.zoom, 1 + settings.zoom / 2)
        angle = np.radians(rng.uniform(-settings.roll_deg, settings.roll_deg))
        move = rng.uniform(-settings.shift, settings.shift, 2) * to_px
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        linear = np.diag([-1.0, 1.0]) @ linear
    offset = to_px / 2 + move - linear @ np.full(2, from_px / 2)
    return np.concatenate([linear, offset[:, None]], axis=1), mirrored


def warp(image: U8, matrix: F64, size_px: int) -> U8:
    """The picture (size, size, 3) that a matrix makes; black outside; untouched where nothing changes."""
    if image.shape[0] == size_px and np.array_equal(matrix, np.eye(2, 3)):
        return image
    if image.shape[0] > size_px:
        # Averaged first: bilinear sampling would skip pixels.
        share = size_px / image.shape[0]
        image = np.asarray(Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BOX))
        matrix = np.concatenate([matrix[:, :2] / share, matrix[:, 2:]], axis=1)
        if np.allclose(matrix, np.eye(2, 3), atol=1e-9):
            return image
    return Crop(size_px, matrix[None]).images(image[None])[0]


def moved(points_px: npt.NDArray[np.floating], matrix: F64) -> npt.NDArray[np.float32]:
    """Points (P, 2) where a warp puts them."""
    return Crop(0, matrix[None]).points(points_px[None])[0]


def degrade(image: U8, settings: AugmentSettings, rng: np.random.Generator) -> U8:
    """Colour, grey, low resolution, blur and JPEG, in this order, each with its probability."""
    picture = Image.fromarray(image)
    side = image.shape[0]
    if rng.random() < settings.colour:
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = kind(picture).enhance(rng.uniform(1 - settings.colour_gain, 1 + settings.colour_gain))
    if rng.random() < settings.grey:
        picture = picture.convert("L").convert("RGB")
    if rng.random() < settings.low_resolution:
        small = max(1, round(side * rng.uniform(settings.least_px, 1)))
        down, up = rng.choice(_RESAMPLING, 2)
        picture = picture.resize((small, small), int(down)).resize((side, side), int(up))
    if rng.random() < settings.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, settings.blur_px) * side / 112))
    if rng.random() < settings.jpeg:
        low, high = settings.jpeg_quality
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(low, high + 1)))
        picture = Image.open(file).convert("RGB")
    return np.asarray(picture)


_RESAMPLING = [int(kind) for kind in (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)]
