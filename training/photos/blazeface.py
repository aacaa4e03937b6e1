"""Boxes and six key points of faces by BlazeFace, near and far.

Source: Bazarevsky et al. 2019, `BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs`; anchors, thresholds and
blending of overlapping boxes as in the published graph of the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.photos.tflite import F64, Network, window


@dataclass(frozen=True)
class Found:
    """A detected face.

    Args:
        box: (4,) left, top, right, bottom, px of the photo.
        points: (6, 2) right eye, left eye, nose tip, mouth, right ear, left ear, px of the photo.
        score: in [0, 1].
    """

    box: F64
    points: F64
    score: float

    @property
    def width_px(self) -> float:
        """The box's width."""
        return float(self.box[2] - self.box[0])


@dataclass(frozen=True)
class Layout:
    """Where a network's boxes lie: its file, (stride in px, boxes per cell) per block of them, and the lowest score."""

    name: str
    strides: tuple[tuple[int, int], ...]
    min_score: float


NEAR = Layout("face_detection_short_range", ((8, 2), (16, 6)), 0.5)
FAR = Layout("face_detection_full_range_sparse", ((4, 1),), 0.6)
#: Boxes that overlap more than this (intersection over union) are one face.
_SAME_FACE = 0.3


class BlazeFace:
    """A face detector: the near network sees faces from a sixth of the picture's side on, the far one smaller ones.

    Args:
        layout: `NEAR` or `FAR`.
    """

    def __init__(self, layout: Layout) -> None:
        self._network = Network(layout.name)
        self._min_score = layout.min_score
        self._anchors = _anchors(layout, self._network.size_px)

    def __call__(self, photo: Image.Image, left: float, top: float, side: float) -> list[Found]:
        """The faces in a square of the photo, the surest first."""
        size = self._network.size_px
        outputs = self._network(window(photo, left, top, side, size) * 2 - 1)
        raw, logits = sorted((o[0] for o in outputs), key=lambda o: -o.shape[-1])
        score = 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -100, 100)))
        kept = score >= self._min_score
        values = raw[kept].astype(np.float64).reshape(-1, 8, 2) / size  # centre, width and height, six points
        values[:, [0, *range(2, 8)]] += self._anchors[kept, None]
        centre, half = values[:, 0], values[:, 1] / 2
        rows = np.concatenate([centre - half, centre + half, values[:, 2:].reshape(-1, 12)], axis=1)
        return [_found(row, s, left, top, side) for row, s in _blend(rows, score[kept])]


def merge(found: Sequence[Found]) -> list[Found]:
    """Faces found in several ways, each once: of boxes that overlap the first is kept."""
    result: list[Found] = []
    for face in found:
        if not result or _overlap(face.box, np.stack([r.box for r in result])).max() <= _SAME_FACE:
            result.append(face)
    return result


def _anchors(layout: Layout, size_px: int) -> F64:
    """(A, 2) centres of the cells that boxes are measured from, shares of the square."""
    centres = []
    for stride, repeats in layout.strides:
        row = (np.arange(size_px // stride) + 0.5) * stride / size_px
        grid = np.stack(np.meshgrid(row, row), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, repeats, axis=0))
    return np.concatenate(centres)


def _blend(rows: F64, score: F64) -> list[tuple[F64, float]]:
    """Overlapping rows (left, top, right, bottom, points) averaged by score, which steadies them."""
    result = []
    left = np.argsort(-score)
    while len(left):
        same = _overlap(rows[left[0], :4], rows[left, :4]) > _SAME_FACE
        same[0] = True
        weight = score[left[same]]
        result.append(((rows[left[same]] * weight[:, None]).sum(axis=0) / weight.sum(), float(score[left[0]])))
        left = left[~same]
    return result


def _overlap(box: F64, boxes: F64) -> F64:
    """Intersection over union of a box (4,) with boxes (M, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    return common / np.maximum((box[2:] - box[:2]).prod() + areas - common, 1e-12)


def _found(row: F64, score: float, left: float, top: float, side: float) -> Found:
    points = row.reshape(8, 2) * side + [left, top]
    return Found(points[:2].reshape(4), points[2:], score)
