"""A picture per factor: the table's rows against decoded draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_CELL, _GAP, _TITLE = 180, 14, 22
_PAPER, _INK, _FAINT = (250, 250, 248), (50, 50, 50), (190, 190, 190)
_DATA, _DRAWN = (40, 90, 160), (215, 110, 40)

F64 = npt.NDArray[np.float64]


def draws_sheet(
    group: str, data: Tensor, drawn: Tensor, names: Sequence[str], *, num_histograms: int = 8
) -> Image.Image:
    """Histograms of the most varied components, and the first two principal components, of data and draws.

    Args:
        group: the factor, for the title.
        data, drawn: (M, size) and (M', size).
        names: of the components.
        num_histograms: how many components to show.
    """
    shown = data.std(dim=0).topk(min(num_histograms, data.shape[1])).indices.sort().values.tolist()
    num_columns = 5
    num_rows = -(-(len(shown) + 2) // num_columns)
    step = _CELL + _GAP
    sheet = Image.new("RGB", (_GAP + step * num_columns, 40 + (step + _TITLE) * num_rows), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    draw.text((_GAP, 10), f"{group}: ", fill=_INK, font=font)
    draw.text((_GAP + 80, 10), f"photos ({len(data)})", fill=_DATA, font=font)
    draw.text((_GAP + 180, 10), f"draws ({len(drawn)})", fill=_DRAWN, font=font)
    places = [
        (_GAP + step * (n % num_columns), 36 + (step + _TITLE) * (n // num_columns)) for n in range(len(shown) + 2)
    ]
    for place, component in zip(places, shown, strict=False):
        draw.text(place, names[component][:26], fill=_INK, font=font)
        _histogram(draw, (place[0], place[1] + _TITLE), data[:, component].numpy(), drawn[:, component].numpy())
    basis = _principal(data)
    centre, scale = data.mean(dim=0), data.std(dim=0).clamp_min(1e-6)
    for place, rows, colour, title in (
        (places[-2], data, _DATA, "photos, first two PCs"),
        (places[-1], drawn, _DRAWN, "draws, first two PCs"),
    ):
        draw.text(place, title, fill=_INK, font=font)
        points = ((rows - centre) / scale) @ basis
        limit = float((((data - centre) / scale) @ basis).abs().quantile(0.995))
        _scatter(draw, (place[0], place[1] + _TITLE), points[:1500].numpy() / max(limit, 1e-6), colour)
    return sheet


def _principal(rows: Tensor) -> Tensor:
    standard = (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp_min(1e-6)
    return torch.linalg.svd(standard, full_matrices=False).Vh[:2].T


def _histogram(draw: ImageDraw.ImageDraw, place: tuple[int, int], data: F64, drawn: F64) -> None:
    low, high = np.quantile(np.concatenate([data, drawn]), [0.001, 0.999])
    edges = np.linspace(low, max(high, low + 1e-6), 31)
    shares = [np.histogram(np.clip(rows, low, high), edges)[0] / len(rows) for rows in (data, drawn)]
    top = max(share.max() for share in shares)
    _frame(draw, place)
    width = _CELL / 30
    for k in range(30):
        left = place[0] + k * width
        height = max(1.0, shares[0][k] / top * (_CELL - 8))
        draw.rectangle((left, place[1] + _CELL - height, left + width - 1, place[1] + _CELL - 1), fill=(150, 180, 220))
    line = [(place[0] + (k + 0.5) * width, place[1] + _CELL - shares[1][k] / top * (_CELL - 8)) for k in range(30)]
    draw.line(line, fill=_DRAWN, width=2)
    font = ImageFont.load_default(size=10)
    draw.text((place[0] + 2, place[1] + 2), f"{low:.2g} … {high:.2g}", fill=_INK, font=font)


def _scatter(draw: ImageDraw.ImageDraw, place: tuple[int, int], points: F64, colour: tuple[int, int, int]) -> None:
    _frame(draw, place)
    for x, y in np.clip(points, -1.05, 1.05):
        px, py = place[0] + (x / 1.1 + 1) * _CELL / 2, place[1] + (1 - y / 1.1) * _CELL / 2
        draw.ellipse((px - 1, py - 1, px + 1, py + 1), fill=colour)


def _frame(draw: ImageDraw.ImageDraw, place: tuple[int, int]) -> None:
    draw.rectangle((*place, place[0] + _CELL, place[1] + _CELL), outline=_FAINT)
