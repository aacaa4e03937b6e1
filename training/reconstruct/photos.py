"""Photos with fitted λ: canvases in memory, and where the camera's picture of λ lies in each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.errors import DatasetError
from training.lambda_table import LambdaTable, read_extra, read_table
from training.photos.align import FRAME_PX, MARGIN_PX
from training.photos.prepared import PreparedPhotos

F32 = npt.NDArray[np.float32]
#: One of so many is held out.
_BUCKETS = 10


@dataclass(frozen=True)
class FittedPhotos:
    """M photos.

    Args:
        keys: names.
        canvas: (M, 3, s, s) u8, the camera's view with its margin.
        vector: (M, total) fitted λ.
        view: (M, 3) as in `Reconstructed`, of the camera's view in the middle of the canvas.
        landmarks: (M, L, 2) the detector's, fractions of the view from its middle.
    """

    keys: tuple[str, ...]
    canvas: Tensor
    vector: Tensor
    view: Tensor
    landmarks: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def corners(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """(2N, 3, p, p) in [0, 1]: the upper corners of some, mostly background."""
        side = self.canvas.shape[-1] * 3 // 10
        pieces = [self.canvas[rows][:, :, :side, :side], self.canvas[rows][:, :, :side, -side:]]
        return torch.cat(pieces).float() / 255


def load_photos(
    folder: Path,
    table: Path,
    size_px: int,
    report: Callable[[str], None] = lambda line: None,
    *,
    cache: Path | None = None,
) -> tuple[FittedPhotos, LambdaTable]:
    """Photos of a prepared folder that the λ table has, with canvases of `size_px`.

    Args:
        folder: what `prepare` wrote.
        table: of λ, with crops.
        size_px: of the canvases.
        report: told what takes long.
        cache: a folder to keep the decoded canvases in.

    Raises:
        DatasetError: no photo is in both, or the table has no crops.
    """
    prepared, fitted = PreparedPhotos(folder), read_table(table)
    crops = read_extra(table, "crop")
    place = {key: n for n, key in enumerate(prepared.rows.key)}
    both = [(n, place[key]) for n, key in enumerate(fitted.keys) if key in place]
    if not both:
        raise DatasetError(f"{table}: none of its {len(fitted)} keys is in {folder}; give the table of these photos")
    of_table, of_photos = (np.array(rows) for rows in zip(*both, strict=True))
    canvas = _canvases(prepared, of_photos, size_px, cache, report)
    landmarks = (prepared.rows.landmarks[of_photos] - MARGIN_PX) / FRAME_PX - 0.5
    photos = FittedPhotos(
        keys=tuple(fitted.keys[n] for n in of_table),
        canvas=torch.from_numpy(canvas).permute(0, 3, 1, 2).contiguous(),
        vector=fitted.vector[of_table],
        view=torch.from_numpy(view_of(prepared.rows.crop[of_photos], crops[of_table])),
        landmarks=torch.from_numpy(landmarks.astype(np.float32)),
    )
    return photos, fitted


def _canvases(
    prepared: PreparedPhotos,
    rows: npt.NDArray[np.int64],
    size_px: int,
    cache: Path | None,
    report: Callable[[str], None],
) -> npt.NDArray[np.uint8]:
    """(M, size, size, 3) of these rows, from the cache where it has them."""
    names = "\n".join([*(prepared.rows.key[n] for n in rows), str(prepared.rows.crop[rows].tolist())])
    digest = hashlib.sha256(names.encode()).hexdigest()
    path = None if cache is None else cache / f"photos-{size_px}-{digest[:16]}.npy"
    if path is not None and path.is_file():
        return np.load(path)
    report(f"photos: decoding {len(rows)}")
    canvas = np.stack([prepared.photo(int(n), size_px) for n in rows])
    if path is not None:
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, canvas)
        temporary.replace(path)
    return canvas


def view_of(prepared: F32, fitted: F32) -> F32:
    """(M, 3) where the view of the fitted crop (M, 3) lies in that of the prepared crop (M, 3); the inverse of `fit.recrop`."""
    a, b = prepared.astype(np.float64), fitted.astype(np.float64)
    zoom = a[:, :1] / b[:, :1]
    shift = (a[:, 1:] - FRAME_PX / 2) - zoom * (b[:, 1:] - FRAME_PX / 2)
    return np.concatenate([np.log(zoom), shift / FRAME_PX], axis=1).astype(np.float32)


def split(keys: Sequence[str]) -> npt.NDArray[np.int64]:
    """(M,) −1 for keys that are held out, a tenth; else the half, 0 or 1. By the key's hash: what is added changes nothing."""
    buckets = [int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little") for key in keys]
    numbers = np.array(buckets, np.int64)
    return np.where(numbers % _BUCKETS == 0, -1, numbers // _BUCKETS % 2)


def split_bank(num: int) -> npt.NDArray[np.int64]:
    """(num,) the same for a bank's rows: the last of every ten runs is held out, the others alternate.

    Runs are 50 rows long (shorter where there are few), so a bank that grows keeps its split.
    """
    run = np.arange(num) // max(1, min(50, num // 20))
    return np.where(run % _BUCKETS == _BUCKETS - 1, -1, run % 2)
