"""Photos with their labels beside them, to be looked at."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

#: What each class is painted in, in the order of `CLASSES`; unsure pixels are white.
COLOURS = np.array(
    [[40, 40, 40], [255, 200, 170], [150, 60, 200], [60, 160, 90], [90, 40, 0], [0, 120, 255], [255, 60, 90], [255, 255, 0]],
    np.uint8,
)  # fmt: skip
_COLUMNS, _GAP, _STRENGTH = 6, 4, 0.6


def label_sheet(photos: Tensor, *labels: Tensor, columns: int = _COLUMNS) -> Image.Image:
    """A cell per photo: itself, then each of its label maps painted over it.

    Args:
        photos: (N, 3, S, S) in [0, 1].
        labels: each (N, S, S), class numbers.
        columns: cells to a row.
    """
    pixels = (photos.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    cells = np.concatenate([pixels, *(_painted(pixels, some.numpy()) for some in labels)], axis=2)
    num, height, width, _ = cells.shape
    num_rows = -(-num // columns)
    sheet = np.full((num_rows * (height + _GAP), columns * (width + _GAP), 3), 250, np.uint8)
    for n, cell in enumerate(cells):
        top, left = n // columns * (height + _GAP), n % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = cell
    return Image.fromarray(sheet)


def _painted(photos: np.ndarray, labels: np.ndarray) -> np.ndarray:
    known = labels < len(COLOURS)
    paint = COLOURS[np.where(known, labels, 0)]
    mixed = ((1 - _STRENGTH) * photos + _STRENGTH * paint).astype(np.uint8)
    return np.where(known[..., None], mixed, np.uint8(255))
