"""A prepared folder: aligned photos in one packed file, and a table of where they come from and where their landmarks are.

    photos.safetensors   jpeg, offsets: the photos' JPEG files end to end, `CANVAS_PX`² each (frame and margin)
    photos.parquet       a row per photo: key, source (path below the folder of photos), crop (3), landmarks (2L), score,
                         sharpness, coverage
    rejected.csv         key, source, reason, detail
    accepted.jpg, rejected.jpg   contact sheets
    config.json          the recipe as it was used, and what was prepared; written last: where it is, the rest is whole
    metrics.json         counts and spreads

Landmarks are in pixels of the canvas, origin at its top-left corner.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from synthface.errors import DatasetError
from training.gan.mapped import MappedTensors
from training.photos.align import CANVAS_PX

F32 = npt.NDArray[np.float32]

FORMAT = "synthface-photos-1"
PHOTOS, TABLE, REJECTED = "photos.safetensors", "photos.parquet", "rejected.csv"
#: Room for the packed file's header, which is known last.
_HEADER_BYTES = 512


@dataclass(frozen=True)
class PhotoRows:
    """The table of M prepared photos.

    Args:
        key: M names.
        source: M paths below the folder of photos.
        crop: (M, 3) scale, x, y: source px to px of the frame.
        landmarks: (M, L, 2) px of the canvas; L is 468 (face mesh), 68 or 5.
        score: (M,) the detector's confidence in [0, 1]; 1 where landmarks were given.
        sharpness: (M,) variance of the Laplacian of the face's luminance at the frame's scale, 8-bit units.
        coverage: (M,) share of the canvas that the source covers.
    """

    key: tuple[str, ...]
    source: tuple[str, ...]
    crop: F32
    landmarks: F32
    score: F32
    sharpness: F32
    coverage: F32

    def __len__(self) -> int:
        return len(self.key)


class PreparedPhotos:
    """Photos and landmarks of a prepared folder.

    Args:
        folder: what `python -m training prepare` wrote.

    Raises:
        DatasetError: it isn't a whole one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._file = MappedTensors(self.folder / PHOTOS, FORMAT)
        self.rows = _read_rows(self.folder / TABLE)
        self._offsets = np.array(self._file["offsets"])
        if len(self._offsets) - 1 != len(self.rows):
            raise DatasetError(
                f"{self.folder}: {PHOTOS} holds {len(self._offsets) - 1} photos, {TABLE} {len(self.rows)} rows; "
                "prepare the photos again"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def photo(self, row: int, size_px: int = CANVAS_PX) -> npt.NDArray[np.uint8]:
        """One photo (H, W, 3), canvas and all, scaled to `size_px`."""
        data = self._file["jpeg"][self._offsets[row] : self._offsets[row + 1]].tobytes()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        if size_px != CANVAS_PX:
            image = image.resize((size_px, size_px), Image.Resampling.LANCZOS)
        return np.asarray(image)


def write_prepared(folder: Path, rows: PhotoRows, photos: Iterable[bytes]) -> None:
    """Write the packed file and the table.

    Args:
        folder: where.
        rows: M of them.
        photos: M JPEG files of `CANVAS_PX`² in the rows' order; taken one at a time.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _write_packed(folder / PHOTOS, photos, len(rows))
    columns: dict[str, Any] = {"key": pa.array(rows.key, pa.string()), "source": pa.array(rows.source, pa.string())}
    for name in ("crop", "landmarks"):
        values = getattr(rows, name).reshape(len(rows), -1)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), values.shape[1])
    columns |= {name: pa.array(getattr(rows, name), pa.float32()) for name in ("score", "sharpness", "coverage")}
    temporary = folder / f".{TABLE}.tmp"
    pq.write_table(pa.table(columns), temporary, compression="zstd")
    temporary.replace(folder / TABLE)


def _write_packed(path: Path, photos: Iterable[bytes], count: int) -> None:
    """Safetensors with the photos end to end, one in memory at a time: the header is filled in when they are through."""
    temporary = path.with_name(f".{path.name}.tmp")
    offsets = np.zeros(count + 1, "<i8")
    with open(temporary, "wb") as file:
        file.seek(8 + _HEADER_BYTES + offsets.nbytes)
        written = 0
        for number, photo in enumerate(photos, start=1):
            file.write(photo)
            offsets[number] = offsets[number - 1] + len(photo)
            written = number
        assert written == count
        split, end = offsets.nbytes, offsets.nbytes + int(offsets[-1])
        header = {
            "__metadata__": {"format": FORMAT, "size_px": str(CANVAS_PX)},
            "offsets": {"dtype": "I64", "shape": [count + 1], "data_offsets": [0, split]},
            "jpeg": {"dtype": "U8", "shape": [int(offsets[-1])], "data_offsets": [split, end]},
        }
        file.seek(0)
        file.write(_HEADER_BYTES.to_bytes(8, "little") + json.dumps(header).encode().ljust(_HEADER_BYTES))
        file.write(offsets.tobytes())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read_rows(path: Path) -> PhotoRows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{path}: can't be read ({error}); prepare the photos again") from error

    def numbers(name: str) -> F32:
        column = table[name].combine_chunks()
        flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
        return np.asarray(flat.to_numpy(zero_copy_only=False), np.float32)

    missing = {"key", "source", "crop", "landmarks", "score", "sharpness", "coverage"} - set(table.column_names)
    if missing:
        raise DatasetError(f"{path}: no column {', '.join(sorted(missing))}; prepare the photos again")
    count = table.num_rows
    return PhotoRows(
        key=tuple(table["key"].to_pylist()),
        source=tuple(table["source"].to_pylist()),
        crop=numbers("crop").reshape(count, 3),
        landmarks=numbers("landmarks").reshape(count, -1, 2),
        **{name: numbers(name) for name in ("score", "sharpness", "coverage")},
    )
