"""From the generator's whole view to the picture that is written: nothing, or the five-point crop of face recognition.

A crop is a similarity per sample, from pixel coordinates of the view to those of the picture (origin at the top-left
corner, pixel centres at ½). Every label goes through the same matrix as the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

#: Eyes, nose tip and corners of the mouth in the 112 × 112 crop, image left to right.
#: Source: Deng et al., ArcFace (CVPR 2019); pixel centres there are whole numbers, ours are halves.
ARCFACE_TEMPLATE_112 = (
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) + 0.5
)
#: How much larger than the crop the view is made: the face is then a little finer than the crop, never coarser.
_VIEW_PER_CROP = 10 / 7


@dataclass(frozen=True)
class Crop:
    """A tile's way from view to picture.

    Args:
        size_px: H = W of the picture.
        matrices: (N, 2, 3) from view to picture; None: the picture is the view.
    """

    size_px: int
    matrices: F64 | None = None

    def points(self, points_px: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Points (N, P, 2) of the view in the picture."""
        if self.matrices is None:
            return points_px.astype(np.float32)
        x, y = points_px[..., 0], points_px[..., 1]
        rows = (self.matrices[:, row, :, None] for row in range(2))
        return np.stack([m[:, 0] * x + m[:, 1] * y + m[:, 2] for m in rows], axis=-1).astype(np.float32)

    def images(self, images: U8) -> U8:
        """Views (N, H, W, 3) as pictures (N, size, size, 3), bilinear: the view is a little finer than the picture."""
        if self.matrices is None:
            return images
        from PIL import Image

        return np.stack(
            [
                np.asarray(
                    Image.fromarray(image).transform(
                        (self.size_px, self.size_px),
                        Image.Transform.AFFINE,
                        _inverse(matrix),
                        Image.Resampling.BILINEAR,
                    )
                )
                for image, matrix in zip(images, self.matrices, strict=True)
            ]
        )

    def maps(self, maps: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Label maps (N, H, W, …) in the picture, nearest neighbour: no value is made up; 0 outside the view."""
        if self.matrices is None:
            return maps
        centres = np.stack(np.meshgrid(*[np.arange(self.size_px) + 0.5] * 2), axis=-1)  # (size, size, 2) as x, y
        height, width = maps.shape[1:3]
        result = np.zeros((len(maps), self.size_px, self.size_px, *maps.shape[3:]), maps.dtype)
        for number, matrix in enumerate(self.matrices):
            a, b, c, d, e, f = _inverse(matrix)
            x = np.floor(a * centres[..., 0] + b * centres[..., 1] + c).astype(np.int64)
            y = np.floor(d * centres[..., 0] + e * centres[..., 1] + f).astype(np.int64)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            result[number][inside] = maps[number][y[inside], x[inside]]
        return result


def view_size_px(crop: Literal["full", "arcface"], size_px: int) -> int:
    """The size of the view that a picture is cut from; a multiple of 8."""
    return size_px if crop == "full" else -(-int(size_px * _VIEW_PER_CROP) // 8) * 8


def make_crop(crop: Literal["full", "arcface"], size_px: int, five_points_px: npt.NDArray[np.floating]) -> Crop:
    """The crop of a tile whose five points (N, 5, 2) lie there in the view."""
    if crop == "full":
        return Crop(size_px)
    template = ARCFACE_TEMPLATE_112 * (size_px / 112)
    return Crop(size_px, np.stack([similarity(points, template) for points in five_points_px]))


def five_points(landmarks68_px: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """(…, 5, 2): the eyes' middles (image left first), nose tip and corners of the mouth, of (…, 68, 2)."""
    eyes = [landmarks68_px[..., 36:42, :].mean(axis=-2), landmarks68_px[..., 42:48, :].mean(axis=-2)]
    return np.stack([*eyes, *(landmarks68_px[..., n, :] for n in (30, 48, 54))], axis=-2)


def similarity(source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> F64:
    """The 2 × 3 matrix of the similarity that brings points (P, 2) nearest to others, without reflection.

    Source: Umeyama 1991, in closed form for the plane.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    a_mean, b_mean = a.mean(axis=0), b.mean(axis=0)
    a0, b0 = a - a_mean, b - b_mean
    norm = (a0**2).sum()
    cosine = (a0 * b0).sum() / norm
    sine = (a0[:, 0] * b0[:, 1] - a0[:, 1] * b0[:, 0]).sum() / norm
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([linear, (b_mean - linear @ a_mean)[:, None]], axis=1)


def _inverse(matrix: F64) -> tuple[float, float, float, float, float, float]:
    """Picture to view, in the order that pillow takes."""
    inverse = np.linalg.inv(np.concatenate([matrix, [[0.0, 0.0, 1.0]]]))
    return tuple(inverse[:2].ravel().tolist())


#: What a crop records of itself.
CROPS: Mapping[str, str] = {
    "full": "the generator's whole view",
    "arcface": "a similarity from five points to ArcFace's template",
}
