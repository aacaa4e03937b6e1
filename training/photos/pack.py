"""Parts to the prepared folder: photos packed, tables, sheets, figures."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.photos.align import MARGIN_PX, five_points
from training.photos.parts import Part
from training.photos.prepared import REJECTED, PhotoRows, write_prepared
from training.photos.quality import REASONS
from training.photos.sheets import Band, Cell, contact_sheet, evenly

F32 = npt.NDArray[np.float32]

ACCEPTED_SHEET, REJECTED_SHEET = "accepted.jpg", "rejected.jpg"
_COLUMNS = ("crop", "landmarks", "score", "sharpness", "coverage")
_PER_ROW, _PER_REASON, _ROWS = 12, 36, 6


@dataclass(frozen=True)
class Packing:
    """What goes together: the folder, and all photos' paths, keys and parts, in order."""

    out: Path
    sources: tuple[str, ...]
    keys: tuple[str, ...]
    parts: tuple[Path, ...]


@dataclass(frozen=True)
class _Refused:
    """A photo that isn't taken, and where its picture is: part, kind of picture, number."""

    row: int
    reason: str
    detail: str
    picture: tuple[int, str, int]


def pack(packing: Packing) -> dict[str, Any]:
    """Write everything but the configuration; returns the figures."""
    # A few parts at a time: there may be thousands.
    part = lru_cache(maxsize=4)(lambda number: Part(packing.parts[number]))
    taken, refused = _sort_out(part, packing)
    rows = _rows(part, taken, packing)
    (packing.out / ACCEPTED_SHEET).unlink(missing_ok=True)
    if taken:
        write_prepared(packing.out, rows, (part(p).jpeg(n) for p, n in taken))
        bands = _accepted_bands(rows, lambda row: part(taken[row][0]).jpeg(taken[row][1]))
        contact_sheet(list(bands)).save(packing.out / ACCEPTED_SHEET, quality=90)
    _write_table(packing, refused)
    (packing.out / REJECTED_SHEET).unlink(missing_ok=True)
    if refused:
        bands = _rejected_bands(refused, packing.keys, lambda at: getattr(part(at[0]), at[1])(at[2]))
        contact_sheet(list(bands)).save(packing.out / REJECTED_SHEET, quality=90)
    return _figures(rows, refused)


Open = Callable[[int], Part]


def _sort_out(part: Open, packing: Packing) -> tuple[list[tuple[int, int]], list[_Refused]]:
    """(part, number) of the photos that are taken, and all others; of photos alike to the pixel the first is taken."""
    seen: dict[bytes, str] = {}
    taken, refused = [], []
    for p in range(len(packing.parts)):
        for number, row in enumerate(part(p).row):
            key = packing.keys[row]
            twin = seen.setdefault(part(p).digest(number), key)
            if twin == key:
                taken.append((p, number))
            else:
                refused.append(_Refused(row, "duplicate", f"the same pixels as {twin}", (p, "jpeg", number)))
        for number, (row, reason, detail) in enumerate(part(p).rejected):
            refused.append(_Refused(row, reason, detail, (p, "thumbnail", number)))
    return taken, sorted(refused, key=lambda entry: entry.row)


def _rows(part: Open, taken: Sequence[tuple[int, int]], packing: Packing) -> PhotoRows:
    numbers: dict[int, list[int]] = {}
    for p, number in taken:
        numbers.setdefault(p, []).append(number)
    index = [part(p).row[n] for p, ns in numbers.items() for n in ns]
    columns = {name: [part(p).numbers(name)[ns] for p, ns in numbers.items()] for name in _COLUMNS}
    return PhotoRows(
        key=tuple(packing.keys[row] for row in index),
        source=tuple(packing.sources[row] for row in index),
        **{name: np.concatenate(column) if column else np.zeros(0, np.float32) for name, column in columns.items()},
    )


def _accepted_bands(rows: PhotoRows, jpeg: Callable[[int], bytes]) -> Iterator[Band]:
    """Those that were nearly rejected first, then a few of all."""
    for name in ("sharpness", "score", "coverage"):
        values = getattr(rows, name)
        lowest = np.argsort(values, kind="stable")[:_PER_ROW].tolist()
        cells = [Cell(jpeg(n), f"{values[n]:.3g}\n{rows.key[n]}", rows.landmarks[n]) for n in lowest]
        yield Band(f"lowest {name} of {len(rows)} accepted", cells)
    distance = eye_distance_px(rows)
    lowest = np.argsort(distance, kind="stable")[:_PER_ROW].tolist()
    yield Band(
        "smallest faces: px from eye to eye in the photo",
        [Cell(jpeg(n), f"{distance[n]:.0f} px\n{rows.key[n]}", rows.landmarks[n]) for n in lowest],
    )
    some = evenly(len(rows), _PER_ROW * _ROWS)
    yield Band("a sample of all", [Cell(jpeg(n), rows.key[n]) for n in some])


def _rejected_bands(
    refused: Sequence[_Refused], keys: Sequence[str], jpeg: Callable[[tuple[int, str, int]], bytes]
) -> Iterator[Band]:
    for reason in REASONS:
        alike = [entry for entry in refused if entry.reason == reason]
        some = [alike[n] for n in evenly(len(alike), _PER_REASON)]
        if some:
            cells = [Cell(jpeg(entry.picture), f"{keys[entry.row]}\n{entry.detail}") for entry in some]
            yield Band(f"{reason}: {len(alike)}" + (f", {len(some)} shown" if len(some) < len(alike) else ""), cells)


def _write_table(packing: Packing, refused: Sequence[_Refused]) -> None:
    temporary = packing.out / f".{REJECTED}.tmp"
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "source", "reason", "detail"))
        for entry in refused:
            writer.writerow((packing.keys[entry.row], packing.sources[entry.row], entry.reason, entry.detail))
    temporary.replace(packing.out / REJECTED)


def eye_distance_px(rows: PhotoRows) -> F32:
    """(M,) from eye to eye in the source."""
    if not len(rows):
        return np.zeros(0, np.float32)
    five = five_points(rows.landmarks.astype(np.float64) - MARGIN_PX)
    return (np.linalg.norm(five[:, 1] - five[:, 0], axis=-1) / rows.crop[:, 0]).astype(np.float32)


def _figures(rows: PhotoRows, refused: Sequence[_Refused]) -> dict[str, Any]:
    count = Counter(entry.reason for entry in refused)
    spreads = {"eye_distance_px": eye_distance_px(rows)} | {name: getattr(rows, name) for name in _COLUMNS[2:]}
    return {
        "num_photos": len(rows) + len(refused),
        "num_accepted": len(rows),
        "num_landmarks": rows.landmarks.shape[1] if len(rows) else 0,
        "rejected": {reason: count[reason] for reason in REASONS if count[reason]},
        "accepted": {name: _spread(values) for name, values in spreads.items()} if len(rows) else {},
    }


def _spread(values: F32) -> dict[str, float]:
    """Lowest, 5th percentile, median, 95th percentile, highest."""
    at = {"min": 0, "p05": 5, "median": 50, "p95": 95, "max": 100}
    return {name: round(float(np.percentile(values, q)), 4) for name, q in at.items()}
