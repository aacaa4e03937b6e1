"""The files a spec names: found beside it, hashed, and read once, while loading."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.factors.lighting import project_environment
from synthface.spec.model import FileRef
from synthface.spec.names import nearest

F64 = npt.NDArray[np.float64]

MAX_FILE_BYTES = 256 << 20
MAX_TABLE_ROWS = 5_000_000


class UnusableFileError(ValueError):
    """A file that a spec names can't be used. The message says why and what to do."""


@dataclass
class SpecFiles:
    """Files relative to a spec's folder, each read once."""

    folder: Path
    _refs: dict[str, FileRef] = field(default_factory=dict)
    _tables: dict[str, Any] = field(default_factory=dict)

    def ref(self, name: str, suffixes: Sequence[str]) -> FileRef:
        """The file called `name`, which must exist and end in one of `suffixes`."""
        if name not in self._refs:
            self._refs[name] = _found(self.folder, name, suffixes)
        return self._refs[name]

    def columns(self, name: str, columns: Sequence[str], weight: str | None) -> tuple[F64, F64 | None]:
        """Values (R, C) of a table's columns, and weights (R,) that sum to 1 (None: all alike)."""
        table = self._table(name)
        values = np.stack([_numbers(table, name, column) for column in columns], axis=1)
        if weight is None:
            return values, None
        weights = _numbers(table, name, weight)
        if (weights < 0).any() or not weights.sum() > 0:
            raise UnusableFileError(f"the weights in column {weight!r} of {name} must be 0 or more, and not all 0")
        return values, weights / weights.sum()

    def _table(self, name: str) -> Any:
        if name not in self._tables:
            self._tables[name] = _read_table(self.ref(name, (".csv", ".parquet")))
        return self._tables[name]

    def environment(self, name: str) -> tuple[FileRef, tuple[tuple[float, ...], ...]]:
        """The map called `name` and its spherical harmonics, 3 × 9."""
        ref = self.ref(name, (".hdr", ".exr", ".png", ".jpg", ".jpeg"))
        sh = project_environment(_read_radiance(ref))
        return ref, tuple(tuple(float(value) for value in channel) for channel in sh)


def _found(folder: Path, name: str, suffixes: Sequence[str]) -> FileRef:
    path = folder / Path(name).expanduser()
    if path.suffix.lower() not in suffixes:
        raise UnusableFileError(f"{name!r} isn't of a kind that can be read; allowed: {', '.join(suffixes)}")
    try:
        if path.is_dir():
            raise UnusableFileError(f"{name!r} is a folder; name a file in it")
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise UnusableFileError(f"{name!r} has {size} bytes; at most {MAX_FILE_BYTES} are read")
        return FileRef(name=name, path=path.resolve(), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    except (OSError, ValueError) as error:
        if isinstance(error, UnusableFileError):
            raise
        raise UnusableFileError(_missing(path, name, error)) from None


def _missing(path: Path, name: str, error: Exception) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"{name!r} can't be read ({getattr(error, 'strerror', None) or error})"
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    guess = nearest(path.name, beside)
    hint = f"; did you mean {guess!r}?" if guess else "; paths are relative to the spec's folder"
    return f"there is no file {name!r} in {path.parent}{hint}"


def _read_table(ref: FileRef) -> Any:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    is_parquet = ref.path.suffix.lower() == ".parquet"
    try:
        table = pa.parquet.read_table(ref.path) if is_parquet else pa.csv.read_csv(ref.path)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UnusableFileError(f"{ref.name!r} isn't a readable {ref.path.suffix[1:]} table: {reason}") from None
    if not 0 < table.num_rows <= MAX_TABLE_ROWS:
        raise UnusableFileError(f"{ref.name!r} has {table.num_rows} rows; allowed: 1 to {MAX_TABLE_ROWS}")
    return table


def _numbers(table: Any, name: str, column: str) -> F64:
    if column not in table.column_names:
        guess = nearest(column, table.column_names)
        hint = f"; did you mean {guess!r}?" if guess else ""
        has = ", ".join(table.column_names[:20])
        raise UnusableFileError(f"{name!r} has no column {column!r}; it has {has}{hint}")
    try:
        values = np.asarray(table.column(column).to_numpy(), dtype=np.float64)
    except (TypeError, ValueError):
        raise UnusableFileError(f"column {column!r} of {name!r} isn't all numbers") from None
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
        raise UnusableFileError(f"column {column!r} of {name!r} has no finite number in row {row}; fill or drop it")
    return values


def _read_radiance(ref: FileRef) -> F64:
    """Linear RGB (H, W, 3) of an equirectangular image."""
    is_float = ref.path.suffix.lower() in (".hdr", ".exr")
    pixels = _read_float_image(ref) if is_float else _decoded(_read_image(ref))
    if pixels.ndim != 3 or pixels.shape[2] < 3 or not np.isfinite(pixels).all():
        raise UnusableFileError(f"{ref.name!r} isn't an RGB picture of finite values")
    if abs(pixels.shape[1] - 2 * pixels.shape[0]) > 2:
        raise UnusableFileError(
            f"{ref.name!r} is {pixels.shape[1]} × {pixels.shape[0]} px; an equirectangular map is twice as wide as high"
        )
    return pixels[..., :3]


def _read_image(ref: FileRef) -> F64:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(ref.path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.float64) / 255.0
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise UnusableFileError(f"{ref.name!r} isn't a picture that can be read") from None


def _decoded(encoded: F64) -> F64:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _read_float_image(ref: FileRef) -> F64:
    # OpenCV reads OpenEXR files only when asked to before it is imported.
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
    try:
        import cv2
    except ImportError:
        raise UnusableFileError(
            f"reading {ref.path.suffix} maps needs opencv-python-headless: pip install 'synthface[environment-maps]'"
        ) from None
    try:
        pixels = cv2.imdecode(np.frombuffer(ref.path.read_bytes(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype.kind != "f":
        raise UnusableFileError(
            f"{ref.name!r} isn't a high-dynamic-range picture that can be read; save it anew as .hdr"
        )
    return np.asarray(pixels[..., ::-1], dtype=np.float64)
