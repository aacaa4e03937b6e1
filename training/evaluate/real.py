"""The photos to measure against: a prepared folder, cropped as the generator's camera sees faces."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from synthface.errors import DatasetError
from training.evaluate.subject import Pictures
from training.photos.align import FRAME_PX, MARGIN_PX, apply_crop, cut
from training.photos.prepared import TABLE, PreparedPhotos

F64 = npt.NDArray[np.float64]


class RealPhotos:
    """Photos and where their landmarks are.

    Args:
        folder: what `python -m training prepare` wrote.
        table: a λ table with columns `key` and `crop`; photos are then cut so that the reconstructed translation is
            cancelled, and those without a row are left out. None: as they were prepared.

    Raises:
        DatasetError: the folder isn't a prepared one, or no photo has a row.
    """

    def __init__(self, folder: Path, table: Path | None = None) -> None:
        self.photos = PreparedPhotos(folder)
        rows = self.photos.rows
        crops = {} if table is None else _read_crops(table)
        self.has_fitted_crops = bool(crops)
        kept = [n for n, key in enumerate(rows.key) if not crops or key in crops]
        if not kept:
            raise DatasetError(
                f"{table}: its keys are none of {folder}; give the table that was fitted to these photos"
            )
        self.numbers = np.array(kept)
        self._crops = [_relative(rows.crop[n], crops.get(rows.key[n], rows.crop[n])) for n in kept]
        sha = hashlib.sha256((Path(folder) / TABLE).read_bytes())
        sha.update(np.concatenate(self._crops).tobytes())
        self.digest = sha.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.numbers)

    def pictures(self, which: npt.NDArray[np.intp], size_px: int) -> Pictures:
        """Photos by number among those kept, at a size; landmarks (N, L, 2) as they were prepared, L = 468, 68 or 5."""
        images, points = [], []
        for number in which:
            row, crop = self.numbers[number], self._crops[number]
            canvas = Image.fromarray(self.photos.photo(int(row)))
            images.append(np.asarray(cut(canvas, crop, size_px)[0]))
            points.append(apply_crop(crop, self.photos.rows.landmarks[row].astype(np.float64)) / FRAME_PX)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return Pictures(pixels, torch.from_numpy(np.stack(points)).float())


def _relative(prepared: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating]) -> F64:
    """The crop (scale, x, y) from the prepared canvas to the wanted frame; both take source px to px of a frame."""
    scale = float(wanted[0]) / float(prepared[0])
    return np.array([scale, *(np.asarray(wanted[1:], np.float64) - scale * (np.asarray(prepared[1:]) + MARGIN_PX))])


def _read_crops(path: Path) -> dict[str, F64]:
    """Key to crop (3,); empty where the table has no such column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if "crop" not in pq.read_schema(path).names:
            return {}
        table = pq.read_table(path, columns=["key", "crop"])
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{path}: can't be read ({error}); give the λ table that `fit` wrote") from error
    crops = np.array(table["crop"].to_pylist(), np.float64).reshape(-1, 3)
    return dict(zip(table["key"].to_pylist(), crops, strict=True))
