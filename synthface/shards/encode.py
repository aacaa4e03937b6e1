"""Samples as bytes: images, arrays and label JSON, the same bytes for the same values."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        num_dropped: how many samples were left out of it.
    """

    keys: Sequence[str]
    files: Sequence[Mapping[str, bytes]]
    columns: Mapping[str, npt.NDArray[Any]]
    num_dropped: int = 0

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


def label_json(columns: Sequence[Column], values: Mapping[str, npt.NDArray[Any]]) -> list[bytes]:
    """Each sample's labels as JSON: every column, sorted by name, arrays nested; floats in their shortest exact form.

    Raises:
        ValueError: a float is NaN or infinite, which JSON can't say.
    """
    import orjson

    names = sorted(column.name for column in columns)
    cells = [_cells(column, values[column.name]) for column in sorted(columns, key=lambda column: column.name)]
    option = orjson.OPT_SERIALIZE_NUMPY
    return [orjson.dumps(dict(zip(names, row, strict=True)), option=option) for row in zip(*cells, strict=True)]


def _cells(column: Column, values: npt.NDArray[Any]) -> list[Any]:
    """Each sample's value as orjson takes it: NumPy scalars and contiguous arrays keep their precision."""
    if column.dtype == "float32" and not np.isfinite(values).all():
        raise ValueError(f"label {column.name}: a value is NaN or infinite")
    if column.dtype == "string":
        return [str(cell) for cell in values.tolist()]
    return list(np.ascontiguousarray(values))
