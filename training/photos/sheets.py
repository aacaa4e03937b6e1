"""Contact sheets of accepted and rejected photos, so that the bounds can be judged by eye."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training.photos.align import CANVAS_PX

F32 = npt.NDArray[np.float32]

_CELL_PX, _COLUMNS = 144, 12
_GAP, _LINE, _CAPTION = 4, 15, 27
_PAPER, _INK, _DOT = (250, 250, 248), (40, 40, 40), (0, 230, 120)


@dataclass(frozen=True)
class Cell:
    """A picture (JPEG; empty: none), a caption of one or two lines, and landmarks (L, 2) to draw on it, px of the canvas."""

    jpeg: bytes
    caption: str
    landmarks: F32 | None = None


@dataclass(frozen=True)
class Band:
    """A heading and what is below it."""

    title: str
    cells: Sequence[Cell]


def contact_sheet(bands: Sequence[Band]) -> Image.Image:
    """The bands one below the other, `_COLUMNS` cells to a row."""
    step = (_CELL_PX + _GAP, _CELL_PX + _CAPTION + _GAP)
    heights = [_LINE + 2 * _GAP + step[1] * -(-len(band.cells) // _COLUMNS) for band in bands]
    sheet = Image.new("RGB", (_GAP + _COLUMNS * step[0], sum(heights) + _GAP), _PAPER)
    draw, top = ImageDraw.Draw(sheet), _GAP
    for band, height in zip(bands, heights, strict=True):
        draw.text((_GAP, top), band.title, _INK, font=ImageFont.load_default(size=13))
        for n, cell in enumerate(band.cells):
            x, y = _GAP + n % _COLUMNS * step[0], top + _LINE + _GAP + n // _COLUMNS * step[1]
            sheet.paste(_picture(cell), (x, y))
            for line, text in enumerate(cell.caption.split("\n")[:2]):
                draw.text((x, y + _CELL_PX + 12 * line), _shortened(text, draw), _INK, font=_small())
        top += height
    return sheet


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` numbers, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int)).tolist() if count else []


def _picture(cell: Cell) -> Image.Image:
    square = Image.new("RGB", (_CELL_PX, _CELL_PX), (225, 225, 222))
    if cell.jpeg:
        image = Image.open(io.BytesIO(cell.jpeg)).convert("RGB")
        scale = _CELL_PX / max(image.size)
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        square.paste(image, ((_CELL_PX - image.width) // 2, (_CELL_PX - image.height) // 2))
    if cell.landmarks is not None:
        draw = ImageDraw.Draw(square)
        chosen = cell.landmarks[:: 4 if len(cell.landmarks) > 100 else 1]
        draw.point([tuple(point) for point in (chosen * _CELL_PX / CANVAS_PX).tolist()], _DOT)
    return square


def _shortened(text: str, draw: ImageDraw.ImageDraw) -> str:
    if draw.textlength(text, _small()) <= _CELL_PX:
        return text
    while text and draw.textlength(text + "…", _small()) > _CELL_PX:
        text = text[:-1]
    return text + "…"


def _small() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=10)
