"""`python -m training parser labels`: prepared photos to pseudo-labels.

A folder of labels holds

    parts/<settings>-NNNNNN.safetensors   photo u8 (n, S, S, 3), label u8 (n, S, S), matte u8 (n, S, S)
    sheet.jpg                             photos with their labels, to be looked at before anything is trained
    metrics.json                          shares of the classes, and of what is unsure
    config.json                           the recipe, the parts, the photos' keys; written last: where it is, the rest is whole
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from synthface.errors import DatasetError
from synthface.networks.parser import CLASSES
from training.gan.mapped import MappedTensors, write_mapped
from training.parser.geometry import face_map
from training.parser.matte import PersonMatte
from training.parser.pseudo import UNSURE, PseudoRecipe, pseudo_labels
from training.parser.sheet import label_sheet
from training.photos.align import CANVAS_PX
from training.photos.prepared import PreparedPhotos
from training.photos.sheets import evenly
from training.recipe import to_plain

U8 = npt.NDArray[np.uint8]
Report = Callable[[str], None]
#: A photo (H, W, 3) and a size to the probability of a person (size, size).
Matte = Callable[[U8, int], npt.NDArray[np.float64]]

FORMAT = "synthface-parser-labels-1"
CONFIG, METRICS, SHEET, PARTS = "config.json", "metrics.json", "sheet.jpg", "parts"
#: Size of the labelled photos: the canvas at half its size.
LABEL_PX = CANVAS_PX // 2
_PART = 64
_SHEET_PHOTOS = 40


@dataclass(frozen=True)
class LabelsRecipe:
    """How photos are labelled.

    Args:
        every: each how-manieth photo is taken.
        pseudo: when a pixel counts as known.
    """

    every: int = 1
    pseudo: PseudoRecipe = field(default_factory=PseudoRecipe)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; allowed: 1 or more")


class Labels:
    """Labelled photos, by row, read in place.

    Args:
        folder: what `write_labels` wrote.

    Raises:
        DatasetError: it isn't a whole one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.config: dict[str, Any] = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
            self.keys: tuple[str, ...] = tuple(self.config["keys"])
            parts = self.config["parts"]
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(
                f"{self.folder}: no finished labels there ({error}); make them with `python -m training parser labels`"
            ) from error
        self._parts = [MappedTensors(self.folder / PARTS / name, FORMAT) for name in parts]

    def __len__(self) -> int:
        return len(self.keys)

    def photos(self, rows: Tensor) -> Tensor:
        """(N, 3, S, S) in [0, 1]."""
        return torch.from_numpy(self._rows("photo", rows)).permute(0, 3, 1, 2).float() / 255

    def labels(self, rows: Tensor) -> Tensor:
        """(N, S, S) u8."""
        return torch.from_numpy(self._rows("label", rows))

    def mattes(self, rows: Tensor) -> Tensor:
        """(N, 1, S, S) in [0, 1]."""
        return torch.from_numpy(self._rows("matte", rows))[:, None].float() / 255

    def _rows(self, name: str, rows: Tensor) -> U8:
        return np.stack([self._parts[row // _PART][name][row % _PART] for row in rows.tolist()])


def write_labels(
    prepared: Path,
    out: Path,
    recipe: LabelsRecipe,
    *,
    matte: Matte | None = None,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Label the photos of a prepared folder; a run that was killed goes on where it was.

    Args:
        prepared: what `python -m training prepare` wrote.
        out: the folder of labels.
        recipe: how.
        matte: who is in front of what; None is the network that ships.
        report: told how far it is.

    Returns:
        The figures that `metrics.json` holds.

    Raises:
        PhotoError: the photos have no dense landmarks.
        MissingExtraError: `ai-edge-litert` isn't installed.
    """
    photos = PreparedPhotos(prepared)
    rows = list(range(0, len(photos), recipe.every))
    keys = [photos.rows.key[row] for row in rows]
    settings = json.dumps([to_plain(recipe), keys, photos.rows.landmarks[:: recipe.every].sum(dtype=np.float64)])
    digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    parts, counts = [], np.zeros(256, np.int64)
    matte = PersonMatte() if matte is None else matte
    for first in range(0, len(rows), _PART):
        path = out / PARTS / f"{digest}-{first:06d}.safetensors"
        if not _is_whole(path):
            write_mapped(path, _part(photos, rows[first : first + _PART], matte, recipe), {"format": FORMAT})
            report(f"{min(first + _PART, len(rows))}/{len(rows)} photos")
        counts += np.bincount(MappedTensors(path, FORMAT)["label"].ravel(), minlength=256)
        parts.append(path.name)
    config = {"labels": to_plain(recipe), "parts": parts, "keys": keys, "classes": CLASSES}
    figures = {
        "num_photos": len(rows),
        "share": {name: round(float(counts[n] / counts.sum()), 4) for n, name in enumerate(CLASSES)},
        "unsure": round(float(counts[UNSURE] / counts.sum()), 4),
    }
    (out / METRICS).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    temporary = out / f".{CONFIG}.tmp"
    temporary.write_text(json.dumps(config) + "\n", encoding="utf-8")
    temporary.replace(out / CONFIG)
    labels = Labels(out)
    shown = torch.tensor(evenly(len(labels), _SHEET_PHOTOS))
    label_sheet(labels.photos(shown), labels.labels(shown)).save(out / SHEET, quality=90)
    return figures


def _is_whole(path: Path) -> bool:
    try:
        MappedTensors(path, FORMAT)
    except DatasetError:
        return False
    return True


def _part(photos: PreparedPhotos, rows: list[int], matte: Matte, recipe: LabelsRecipe) -> dict[str, U8]:
    """The arrays of some photos."""
    columns: dict[str, list[U8]] = {"photo": [], "label": [], "matte": []}
    for row in rows:
        canvas = photos.photo(row)
        small = Image.fromarray(canvas).resize((LABEL_PX, LABEL_PX), Image.Resampling.LANCZOS)
        photo, person = np.asarray(small), matte(canvas, LABEL_PX)
        face = face_map(photos.rows.landmarks[row] * (LABEL_PX / CANVAS_PX), LABEL_PX)
        columns["photo"].append(photo)
        columns["label"].append(pseudo_labels(photo, person, face, recipe.pseudo))
        columns["matte"].append((person * 255).round().astype(np.uint8))
    return {name: np.stack(values) for name, values in columns.items()}
