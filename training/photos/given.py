"""Landmarks that users bring: arrays, lists of five points, and one text file per photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synthface.errors import PhotoError

F64 = npt.NDArray[np.float64]

#: How many landmarks a face may have: face mesh, iBUG, and eyes, nose tip and mouth corners.
COUNTS = (468, 68, 5)
_HELP = (
    "allowed: .npy of (photos, 468, 68 or 5 points, 2 or 3), a text file with `name x1 y1 … x5 y5` per line, or a folder "
    "with a `<name>.txt` of 5 lines `x y` per photo"
)


class GivenLandmarks:
    """Landmarks of photos, px of the upright photo, origin at its top-left corner.

    Five points are: eye, eye, nose tip, mouth corner, mouth corner, those on the image's left first.

    Args:
        path: a file or folder; see `_HELP`.
        sources: the photos' paths, sorted.

    Raises:
        PhotoError: it can't be read or doesn't fit the photos.
    """

    def __init__(self, path: Path, sources: Sequence[str]) -> None:
        self.path = path
        if path.is_dir():
            self._points = dict(_from_folder(path, sources))
        elif path.suffix == ".npy":
            self._points = dict(zip(sources, _from_array(path, len(sources)), strict=True))
        else:
            self._points = dict(_matched(_from_list(path), sources, path))
        if not self._points:
            raise PhotoError(f"{path}: no landmarks for any of the {len(sources)} photos; {_HELP}")
        self.num_landmarks = len(next(iter(self._points.values())))

    def __len__(self) -> int:
        return len(self._points)

    def of(self, source: str) -> F64 | None:
        """(L, 2) the landmarks of a photo, or None where there are none: no row, not a number, or all in one place."""
        points = self._points.get(source)
        return points if points is not None and np.isfinite(points).all() and np.ptp(points, axis=0).min() > 0 else None


def _from_array(path: Path, num_photos: int) -> F64:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: can't be read as an array ({error}); {_HELP}") from error
    if array.ndim != 3 or array.shape[1] not in COUNTS or array.shape[2] not in (2, 3):
        raise PhotoError(f"{path}: found the shape {array.shape}; {_HELP}")
    if len(array) != num_photos:
        raise PhotoError(
            f"{path}: {len(array)} rows for {num_photos} photos; give one row per photo, in the order of their sorted "
            "paths, NaN where a photo has no face"
        )
    return array[..., :2].astype(np.float64)


def _from_list(path: Path) -> Iterator[tuple[str, F64]]:
    """Lines `name x1 y1 … x5 y5`; a count and a line of column names may come first, as in CelebA's lists."""
    for number, line in enumerate(_lines(path), start=1):
        name, *values = line.replace(",", " ").split()
        if number <= 2 and not any(_numbers([value], 1) for value in values):
            continue
        points = _numbers(values, 10)
        if not points:
            raise PhotoError(f"{path}:{number}: found {len(values)} values after the name; {_HELP}")
        yield name, np.array(points).reshape(5, 2)


def _from_folder(folder: Path, sources: Sequence[str]) -> Iterator[tuple[str, F64]]:
    """`<name>.txt` beside each other or in the photos' subfolders: 5 lines `x y`, as Deng et al. 2019's code reads."""
    stems = _unique(lambda s: Path(s).stem, sources)
    for source in sources:
        places = [folder / Path(source).with_suffix(".txt")]
        if Path(source).stem in stems:
            places.append(folder / f"{Path(source).stem}.txt")
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            continue
        points = _numbers(" ".join(_lines(file)).replace(",", " ").split(), 10)
        if not points:
            raise PhotoError(f"{file}: not 5 lines of `x y`; {_HELP}")
        yield source, np.array(points).reshape(5, 2)


def _matched(rows: Iterator[tuple[str, F64]], sources: Sequence[str], path: Path) -> Iterator[tuple[str, F64]]:
    """Names of a list to photos: by path, by path without suffix, by file name where that is unique."""
    known = {source: source for source in sources}
    for short in (lambda s: Path(s).with_suffix("").as_posix(), lambda s: Path(s).name, lambda s: Path(s).stem):
        known = _unique(short, sources) | known
    seen: set[str] = set()
    for name, points in rows:
        source = known.get(name)
        if source is None:
            continue
        if source in seen:
            raise PhotoError(f"{path}: two lines for {source}; leave one")
        seen.add(source)
        yield source, points


def _unique(name: Callable[[str], str], sources: Sequence[str]) -> dict[str, str]:
    """Name to photo, of the names that only one photo has."""
    count = Counter(name(source) for source in sources)
    return {name(source): source for source in sources if count[name(source)] == 1}


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise PhotoError(f"{path}: can't be read ({error}); {_HELP}") from error


def _numbers(values: Sequence[str], count: int) -> list[float]:
    """The values as numbers, or none of them."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return []
    return numbers if len(numbers) == count else []
