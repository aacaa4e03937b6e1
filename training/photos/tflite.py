"""The networks in `models/`, run by LiteRT, and the squares of a photo that they look at."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from synthface.errors import MissingExtraError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

MODELS = Path(__file__).with_name("models")


class Network:
    """A network of `models/`: one input, several outputs, one thread.

    Args:
        name: of its file, without suffix.

    Raises:
        MissingExtraError: `ai-edge-litert` isn't installed.
    """

    def __init__(self, name: str) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingExtraError("ai-edge-litert", "photos", "finding faces in photos") from error
        with _quiet():
            self._interpreter = Interpreter(str(MODELS / f"{name}.tflite"), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._outputs: list[int] = [entry["index"] for entry in self._interpreter.get_output_details()]
        self.size_px: int = int(self._interpreter.get_input_details()[0]["shape"][1])

    def __call__(self, picture: F32) -> list[F32]:
        """Its outputs for one picture (size, size, 3)."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(picture[None], np.float32))
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the interpreter's C++ side says on stderr when it starts, which no setting of its own turns off."""
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def window(photo: Image.Image, left: float, top: float, side: float, size_px: int) -> F32:
    """An upright square of a photo (size, size, 3) in [0, 1]; black beyond the photo's edges."""
    box = (round(left), round(top), round(left + side), round(top + side))
    inside = (max(box[0], 0), max(box[1], 0), min(box[2], photo.width), min(box[3], photo.height))
    scale = size_px / (box[2] - box[0])
    shown = [max(1, round((inside[k + 2] - inside[k]) * scale)) for k in (0, 1)]
    small = photo.resize((shown[0], shown[1]), Image.Resampling.BILINEAR, box=inside, reducing_gap=2.0)
    result = np.zeros((size_px, size_px, 3), np.float32)
    x, y = round((inside[0] - box[0]) * scale), round((inside[1] - box[1]) * scale)
    pixels = np.asarray(small, np.float32)[: size_px - y, : size_px - x] / 255
    result[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return result


def turned_square(photo: U8, to_photo: F64, size_px: int) -> F32:
    """A turned square of a photo (size, size, 3) in [0, 1], bilinear; edge pixels go on beyond the photo's edges.

    Args:
        photo: (H, W, 3).
        to_photo: (2, 3) affine map from px of the square to px of the photo.
        size_px: of the result.
    """
    shrink = int(np.hypot(to_photo[0, 0], to_photo[1, 0]))
    if shrink >= 2:  # average first, so that bilinear sampling doesn't alias
        return turned_square(*_shrunk(photo, to_photo, size_px, shrink), size_px)
    row = np.arange(size_px) + 0.5
    x = to_photo[0, 0] * row[None] + to_photo[0, 1] * row[:, None] + to_photo[0, 2] - 0.5
    y = to_photo[1, 0] * row[None] + to_photo[1, 1] * row[:, None] + to_photo[1, 2] - 0.5
    x0, y0 = np.floor(x), np.floor(y)
    tx, ty = (x - x0)[..., None].astype(np.float32), (y - y0)[..., None].astype(np.float32)
    columns = [np.clip(x0 + k, 0, photo.shape[1] - 1).astype(np.intp) for k in (0, 1)]
    rows = [np.clip(y0 + k, 0, photo.shape[0] - 1).astype(np.intp) for k in (0, 1)]
    upper = photo[rows[0], columns[0]] * (1 - tx) + photo[rows[0], columns[1]] * tx
    lower = photo[rows[1], columns[0]] * (1 - tx) + photo[rows[1], columns[1]] * tx
    return (upper * (1 - ty) + lower * ty) / np.float32(255)


def _shrunk(photo: U8, to_photo: F64, size_px: int, shrink: int) -> tuple[U8, F64]:
    """The part of the photo that the square covers, `shrink` times smaller, and the map into it."""
    corners = to_photo[:, :2] @ np.array([[0, size_px, 0, size_px], [0, 0, size_px, size_px]]) + to_photo[:, 2:]
    limit = np.array([photo.shape[1], photo.shape[0]])
    low = np.clip(np.floor(corners.min(axis=1)) - shrink, 0, limit - 1).astype(int)
    high = np.maximum(np.clip(np.ceil(corners.max(axis=1)) + shrink, 0, limit).astype(int), low + 1)
    part = Image.fromarray(photo[low[1] : high[1], low[0] : high[0]]).reduce(shrink)
    moved = to_photo.copy()
    moved[:, 2] -= low
    return np.asarray(part), moved / shrink
