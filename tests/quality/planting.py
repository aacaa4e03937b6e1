"""Faults planted in a finished dataset: pictures that aren't their labels'. Hashes are left wrong: audits look at pictures."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import synthface
from synthface.factors.lighting import dominant_direction

Picture = bytes
Change = Callable[[int, list[Picture]], Picture]


def planted(dataset: Path, target: Path, changes: Mapping[int, Change]) -> Path:
    """A copy of a dataset in which the pictures of some rows are others; a change gets its row and all pictures."""
    shutil.copytree(dataset, target)
    tars = sorted((target / "data").glob("*.tar"), key=lambda path: first_row(path))
    members = [read_tar(path) for path in tars]
    pictures = [content for files in members for name, content in files if name.endswith((".jpg", ".png"))]
    row = 0
    for path, files in zip(tars, members, strict=True):
        with tarfile.open(path, "w") as archive:
            for name, content in files:
                if name.endswith((".jpg", ".png")):
                    content = changes[row](row, pictures) if row in changes else content
                    row += 1
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return target


def first_row(path: Path) -> int:
    """Where a shard stands in the dataset."""
    with tarfile.open(path) as archive:
        return int(archive.getnames()[0].partition(".")[0])


def read_tar(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        return [(m.name, archive.extractfile(m).read()) for m in archive]  # type: ignore[union-attr]


def other(row: int) -> Change:
    """The picture of another row."""
    return lambda _, pictures: pictures[row]


def mirrored(row: int, pictures: list[Picture]) -> Picture:
    """The picture's mirror image."""
    buffer = io.BytesIO()
    flipped = Image.open(io.BytesIO(pictures[row])).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def swapped(rows: np.ndarray) -> dict[int, Change]:
    """Rows (2 M,) that change pictures in pairs."""
    pairs = rows.reshape(-1, 2)
    return {int(a): other(int(b)) for a, b in (*pairs, *pairs[:, ::-1])}


def shifted(num: int) -> dict[int, Change]:
    """Every row with the picture of the next."""
    return {row: other((row + 1) % num) for row in range(num)}


def plainly_sided(dataset: Path, min_yaw_deg: float = 8.0, min_azimuth_deg: float = 45.0) -> np.ndarray:
    """Rows (M,) whose mirror image is another picture: |yaw| over 8°, or light from the side."""
    frame = synthface.labels(dataset, columns=["yaw_deg", "sh"])
    azimuth = dominant_direction(np.stack(frame.sh.to_list()).reshape(-1, 3, 9))[:, 0]
    is_sided = (frame.yaw_deg.abs() > min_yaw_deg).to_numpy()
    is_lit = (np.abs(azimuth) > min_azimuth_deg) & (np.abs(azimuth) < 180 - min_azimuth_deg)
    return np.flatnonzero(is_sided | is_lit)


def with_yaw(dataset: Path, target: Path, offset_deg: float) -> Path:
    """A copy of a dataset whose yaw labels are all off."""
    shutil.copytree(dataset, target)
    for path in (target / "labels").glob("*.parquet"):
        table = pq.read_table(path)
        where = table.schema.get_field_index("yaw_deg")
        yaw = pa.array(table.column("yaw_deg").to_numpy() + np.float32(offset_deg), pa.float32())
        pq.write_table(table.set_column(where, table.schema.field(where), yaw), path)
    return target
