"""Verification pairs from where people have them: our datasets, LFW's folder and pairs.txt, InsightFace's .bin files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from recipes.common.stream import PICTURE
from recipes.recognition.bins import BINNINGS
from recipes.recognition.insightface import read_bin
from synthface.errors import DatasetError
from synthface.manifest import read_manifest
from synthface.pairs import HEADER
from synthface.shards.labels import labels
from synthface.shards.reader import decode_sample, open_dataset
from synthface.storage import open_store

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
_FOLDS = 10


@dataclass(frozen=True)
class PairSet:
    """Pairs of pictures.

    Args:
        name: for reports.
        num_pictures: N.
        pictures: gives (number, picture (H, W, 3) uint8) of each, in any order.
        a, b: (P,) numbers of the pictures of each pair.
        same: (P,) whether they show one person.
        folds: (P,) which fold each is in.
        labels: column to values (N,), where labels are known.
    """

    name: str
    num_pictures: int
    pictures: Callable[[], Iterator[tuple[int, U8]]]
    a: I64
    b: I64
    same: npt.NDArray[np.bool_]
    folds: I64
    labels: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


def from_dataset(dataset: str | Path, name: str) -> PairSet:
    """The list `pairs/{name}.csv` of a dataset, local or remote, with the labels to sort pairs by.

    Raises:
        DatasetError: the dataset isn't finished or has no such list.
    """
    store = open_store(dataset)
    try:
        with store.open(f"pairs/{name}.csv") as file:
            rows = list(csv.DictReader(io.StringIO(file.read().decode())))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{store.url}: no pair list {name!r}; ask for one under `pairs` in the dataset's spec"
        ) from error
    if not rows or set(rows[0]) != set(HEADER):
        raise DatasetError(f"{store.url}/pairs/{name}.csv: allowed: rows with the columns {', '.join(HEADER)}")
    keys = sorted({row[side] for row in rows for side in ("key_a", "key_b")})
    number = {key: n for n, key in enumerate(keys)}
    a, b = (np.array([number[row[side]] for row in rows], np.int64) for side in ("key_a", "key_b"))
    return PairSet(
        name,
        len(keys),
        lambda: _of_shards(dataset, number),
        a,
        b,
        np.array([row["same"] == "1" for row in rows]),
        np.array([int(row["fold"]) for row in rows], np.int64),
        _labels(dataset, keys),
    )


def pair_lists(dataset: str | Path) -> list[str]:
    """The names of a dataset's pair lists, as its manifest has them."""
    names = [record["name"] for record in read_manifest(open_store(dataset))["files"]]
    return sorted(Path(name).stem for name in names if name.startswith("pairs/"))


def from_lfw(folder: Path, pairs_file: Path) -> PairSet:
    """LFW's layout: `Name/Name_0001.jpg` in a folder, pairs in a text file. The pictures must be cropped as the network
    expects; folds are as in the file.

    Raises:
        DatasetError: a line isn't a pair, or a picture isn't there.
    """
    lines = [line.split() for line in pairs_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    head, body = lines[0], lines[1:]
    num_folds, per_kind = (1, int(head[0])) if len(head) == 1 else (int(head[0]), int(head[1]))
    if len(body) != num_folds * 2 * per_kind:
        raise DatasetError(
            f"{pairs_file}: {len(body)} pairs, but its first line promises {num_folds} folds of 2 × {per_kind}"
        )
    couples, same = zip(*(_lfw_pair(folder, pairs_file, n, line) for n, line in enumerate(body, start=2)), strict=True)
    files = sorted({path for couple in couples for path in couple})
    number = {path: n for n, path in enumerate(files)}
    a, b = (np.array([number[couple[side]] for couple in couples], np.int64) for side in (0, 1))
    folds = np.arange(len(body)) // (2 * per_kind)
    return PairSet(pairs_file.stem, len(files), lambda: _of_files(files), a, b, np.array(same), folds)


def from_bin(path: Path) -> PairSet:
    """An InsightFace `.bin` file: LFW, CFP-FP, AgeDB-30, CALFW and CPLFW come so. Folds are ten runs of pairs.

    Raises:
        DatasetError: the file isn't in this layout.
    """
    encoded, same = read_bin(path)
    number = np.arange(len(same))
    folds = number * min(_FOLDS, len(same)) // max(len(same), 1)
    return PairSet(path.stem, len(encoded), lambda: _of_bytes(path, encoded), 2 * number, 2 * number + 1, same, folds)


def _labels(dataset: str | Path, keys: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    frame = labels(dataset)
    columns = [binning.column for binning in BINNINGS if binning.column in frame]
    found = frame.set_index("key").loc[list(keys), columns]
    return {column: found[column].to_numpy(np.float64) for column in columns}


def _of_shards(dataset: str | Path, number: Mapping[str, int]) -> Iterator[tuple[int, U8]]:
    for sample in open_dataset(dataset, shuffle=False, decode=False):
        place = number.get(sample["__key__"])
        if place is not None:
            picture = {name: value for name, value in sample.items() if name in PICTURE or name == "__key__"}
            yield place, decode_sample(picture)["image"]


def _lfw_pair(folder: Path, file: Path, line: int, words: Sequence[str]) -> tuple[tuple[Path, Path], bool]:
    """Two files, and whether the line says that they show one person."""
    if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
        return (
            _picture(folder, file, line, words[0], words[1]),
            _picture(folder, file, line, words[0], words[2]),
        ), True
    if len(words) == 4 and words[1].isdigit() and words[3].isdigit():
        return (_picture(folder, file, line, *words[:2]), _picture(folder, file, line, *words[2:])), False
    raise DatasetError(f"{file}:{line}: found {' '.join(words)!r}; allowed: `name n1 n2` or `name1 n1 name2 n2`")


def _picture(folder: Path, file: Path, line: int, name: str, number: str) -> Path:
    for extension in ("jpg", "png"):
        path = folder / name / f"{name}_{int(number):04d}.{extension}"
        if path.is_file():
            return path
    raise DatasetError(f"{file}:{line}: no picture {folder / name / f'{name}_{int(number):04d}'}.jpg or .png")


def _of_files(files: Sequence[Path]) -> Iterator[tuple[int, U8]]:
    for number, path in enumerate(files):
        yield number, _decode(path.read_bytes(), str(path))


def _of_bytes(path: Path, encoded: Sequence[bytes]) -> Iterator[tuple[int, U8]]:
    for number, data in enumerate(encoded):
        yield number, _decode(data, f"{path}: picture {number}")


def _decode(data: bytes, where: str) -> U8:
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise DatasetError(f"{where}: not a picture ({error})") from error
