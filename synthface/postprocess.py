"""Recorded degradations: what cameras and networks do to pictures, with the amount in the labels."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from synthface.seeding import normals

U8 = npt.NDArray[np.uint8]


def _jpeg_quality(image: U8, amount: float, seed: int, stream: str, key: int) -> U8:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=round(amount))
    return np.asarray(Image.open(buffer))


def _blur_px(image: U8, amount: float, seed: int, stream: str, key: int) -> U8:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(amount)))


def _gaussian_noise(image: U8, amount: float, seed: int, stream: str, key: int) -> U8:
    noise = normals(seed, stream, np.array([key]), image.size).reshape(image.shape)
    return (image + amount * noise).round().clip(0, 255).astype(np.uint8)


def _resize_px(image: U8, amount: float, seed: int, stream: str, key: int) -> U8:
    size = round(amount)
    small = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC))


def _grayscale(image: U8, amount: float, seed: int, stream: str, key: int) -> U8:
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float64)[..., None]
    return (image + amount * (grey - image)).round().clip(0, 255).astype(np.uint8)


#: Kind in a spec to what it does to an image (H, W, 3), given its amount and the key of its randomness.
DEGRADATIONS: Mapping[str, Callable[[U8, float, int, str, int], U8]] = {
    "jpeg_quality": _jpeg_quality,
    "blur_px": _blur_px,
    "gaussian_noise": _gaussian_noise,
    "resize_px": _resize_px,
    "grayscale": _grayscale,
}


def degrade(
    images: U8,
    kinds: tuple[str, ...],
    amounts: npt.NDArray[np.floating],
    *,
    seed: int,
    streams: list[str],
    keys: npt.NDArray[np.int64],
) -> U8:
    """Images (N, H, W, 3) after degradations in order.

    Args:
        kinds: M names in `DEGRADATIONS`.
        amounts: (N, M).
        seed: the dataset's.
        streams: of each sample, what its noise is keyed under.
        keys: (N,) each sample's counter.
    """
    result = []
    for image, row, stream, key in zip(images, amounts, streams, keys.tolist(), strict=True):
        for number, (kind, amount) in enumerate(zip(kinds, row.tolist(), strict=True)):
            image = DEGRADATIONS[kind](image, amount, seed, f"{stream}/post[{number}]", key)
        result.append(image)
    return np.stack(result) if result else images
