"""How far are found points and angles from the renderer's?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from recipes.common.pictures import NO_CHANGE
from recipes.common.stream import PICTURE
from recipes.landmarks.network import LandmarkNetwork
from recipes.landmarks.targets import PrepareLandmarks
from recipes.recognition.training import as_input
from synthface.errors import DatasetError
from synthface.shards.reader import decode_sample, open_dataset

F64 = npt.NDArray[np.float64]
#: Outer corners of the eyes.
_CORNERS = (36, 45)
_YAW_EDGES = (0, 15, 30, 45, 60, 90)
_FAILED = 0.08


def normalised_errors(found: F64, true: F64) -> F64:
    """Distances (N, 68) of points (N, 68, 2) over the diagonal of the true points' upright box.

    The distance between the eyes, which frontal benchmarks divide by, vanishes in profile.
    """
    extent = true.max(axis=1) - true.min(axis=1)
    return np.linalg.norm(found - true, axis=2) / np.linalg.norm(extent, axis=1)[:, None]


def interocular_errors(found: F64, true: F64) -> F64:
    """Distances (N, 68) over that of the true outer eye corners, as 300-W has it."""
    eyes = np.linalg.norm(true[:, _CORNERS[0]] - true[:, _CORNERS[1]], axis=1)
    return np.linalg.norm(found - true, axis=2) / eyes[:, None]


def figures(found: F64, true: F64, visible: npt.NDArray[np.bool_], found_deg: F64, true_deg: F64) -> dict[str, Any]:
    """Errors of points (N, 68, 2), visible (N, 68), and angles (N, 3) as pitch, yaw, roll in degrees."""
    errors, off = normalised_errors(found, true), np.abs(found_deg - true_deg)
    yaw = np.abs(true_deg[:, 1])
    frontal = yaw < _YAW_EDGES[1]
    return {
        "pictures": len(found),
        "nme_box": float(errors.mean()),
        "nme_visible": _mean(errors[visible]),
        "nme_hidden": _mean(errors[~visible]),
        "nme_interocular_frontal": _mean(interocular_errors(found[frontal], true[frontal])),
        "failures": float((errors.mean(axis=1) > _FAILED).mean()),
        "pose_deg": dict(zip(("pitch", "yaw", "roll"), off.mean(axis=0).tolist(), strict=True)),
        "by_yaw": {
            f"{low}…{high}": {
                "pictures": int(here.sum()),
                "nme_box": _mean(errors[here]),
                "yaw_deg": _mean(off[here, 1]),
            }
            for low, high in itertools.pairwise(_YAW_EDGES)
            for here in [(low <= yaw) & (yaw < high)]
        },
    }


def measure(
    network: LandmarkNetwork,
    dataset: str | Path,
    split: str | None = "test",
    *,
    device: torch.device | str | None = None,
    batch: int = 128,
) -> dict[str, Any]:
    """Figures on a dataset's split; on the GPU where there is one and no device is named.

    Raises:
        DatasetError: there is no such split, or nothing in it.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).eval()
    parts: list[list[F64]] = []
    for pictures, points, pose, visible in _batches(dataset, split, network.settings.size_px, batch):
        with torch.inference_mode():
            found, angles = network(as_input(torch.from_numpy(pictures).to(device)))
        parts.append([a.astype(np.float64) for a in (found.cpu().numpy(), points, angles.cpu().numpy(), pose, visible)])
    if not parts:
        raise DatasetError(f"{dataset}: no pictures in split {split!r}")
    found, true, angles, pose, seen = (np.concatenate(column) for column in zip(*parts, strict=True))
    return figures(found, true, seen.astype(bool), np.degrees(angles), np.degrees(pose))


def _batches(dataset: str | Path, split: str | None, size_px: int, batch: int) -> Iterator[tuple[Any, ...]]:
    prepare, rng = PrepareLandmarks(size_px, NO_CHANGE), np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for sample in open_dataset(dataset, split, shuffle=False, decode=False):
        wanted = {name: value for name, value in sample.items() if name in (*PICTURE, "json", "__key__")}
        rows.append(prepare(decode_sample(wanted), rng))
        if len(rows) == batch:
            yield tuple(np.stack(column) for column in zip(*rows, strict=True))
            rows = []
    if rows:
        yield tuple(np.stack(column) for column in zip(*rows, strict=True))


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None
