"""Samples as bytes: images, arrays and label JSON, the same bytes for the same values."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from synthface.columns import Column

U8 = npt.NDArray[np.uint8]
JpegBackend = Literal["pillow", "simplejpeg"]


@dataclass(frozen=True)
class EncodedTile:
    """N samples ready to be written.

    Args:
        keys: N names, without dots.
        files: for each sample, file extension to bytes; the image among them, not the label JSON.
        columns: label name to values (N, …), one for every declared column.
    """

    keys: Sequence[str]
    files: Sequence[Mapping[str, bytes]]
    columns: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.keys)


def encode_jpeg(image: U8, quality: int = 95, backend: JpegBackend = "pillow") -> bytes:
    """A JPEG (H, W, 3) without chroma subsampling."""
    if backend == "simplejpeg":
        import simplejpeg

        encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality, colorsubsampling="444")
        return encoded
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_png(image: U8) -> bytes:
    """A PNG of (H, W) or (H, W, 3); fast rather than small."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_npy(array: npt.NDArray[Any]) -> bytes:
    """NumPy's own format, version 1.0, no pickle."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def encoder_versions(backend: JpegBackend = "pillow") -> dict[str, str]:
    """What decides an encoded image's bytes, for the manifest."""
    from PIL import __version__ as pillow
    from PIL import features

    versions = {"pillow": pillow, "libjpeg": str(features.version("jpg")), "zlib": str(features.version("zlib"))}
    if backend == "simplejpeg":
        from importlib.metadata import version

        versions["simplejpeg"] = version("simplejpeg")
    return {"jpeg": backend, **versions}


# ------------------------------------------------------------------------------------------------------- label JSON

#: Nine significant digits tell any two float32 apart; `#` keeps the decimal point, so that floats stay floats.
_FORMATS = {"float32": "%#.9g", "int64": "%d", "int32": "%d", "uint8": "%d", "bool": "%s", "string": "%s"}


def label_json(columns: Sequence[Column], values: Mapping[str, npt.NDArray[Any]]) -> list[bytes]:
    """Each sample's labels as JSON: every column, sorted by name, arrays nested.

    Raises:
        ValueError: a float is NaN, infinite or beyond ±10⁸.
    """
    template = _template(tuple(columns))
    ordered = sorted(columns, key=lambda column: column.name)
    # One flat tuple per sample through one format string: the whole object in a single call.
    flat = [_cells(column, values[column.name]) for column in ordered]
    return [(template % tuple(cell for cells in row for cell in cells)).encode() for row in zip(*flat, strict=True)]


@lru_cache(maxsize=16)
def _template(columns: tuple[Column, ...]) -> str:
    ordered = sorted(columns, key=lambda column: column.name)
    members = (f"{json.dumps(c.name)}: {_nested(_FORMATS[c.dtype], c.shape)}".replace("\x00", "%") for c in ordered)
    return "{" + ", ".join(members) + "}"


def _nested(form: str, shape: tuple[int, ...]) -> str:
    for size in reversed(shape):
        form = "[" + ", ".join([form] * size) + "]"
    return form


def _cells(column: Column, values: npt.NDArray[Any]) -> list[list[Any]]:
    """Each sample's formatted arguments: (N, prod(shape)), row-major."""
    flat = values.reshape(len(values), -1)
    if column.dtype == "float32":
        if not (np.abs(flat) < 1e8).all():
            raise ValueError(f"label {column.name}: a value is NaN, infinite or beyond 1e8")
    elif column.dtype == "bool":
        return [["true" if cell else "false" for cell in row] for row in flat.tolist()]
    elif column.dtype == "string":
        return [[json.dumps(str(cell)) for cell in row] for row in flat.tolist()]
    rows: list[list[Any]] = flat.tolist()
    return rows
