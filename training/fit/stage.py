"""λ of every prepared photo: geometry from landmarks, light and skin from colour, and a morphable model whose albedo is theirs.

    prepared folder ─► calibration ─► geometry ─► colours on the mesh ─► light, albedo ─► λ table

Each step leaves a file in OUT and is skipped where that file is there already, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.errors import DatasetError, OutputMismatchError
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from training.fit.calibrate import calibrate
from training.fit.correspondence import Correspondence
from training.fit.geometry import Geometry, GeometryFit, GeometrySettings
from training.fit.light import Light
from training.fit.measure import measure
from training.fit.sheet import write_sheets
from training.fit.surface import SIZE_PX, Surface, framed, recrop, sample_surface
from training.fit.unlit import albedo_of, fit_lights
from training.lambda_table import LambdaTable, write_table
from training.morphable.albedo import fit_albedo, learn_albedo
from training.photos.align import MARGIN_PX
from training.photos.prepared import PreparedPhotos
from training.recipe import save_resolved, to_plain

Report = Callable[[str], None]

TABLE, METRICS, RESOLVED, MORPHABLE = "lambda.parquet", "metrics.json", "recipe.resolved.json", "morphable"
_CALIBRATION, _PARTS, _SURFACE = "calibration.npz", "geometry", "surface.npz"


@dataclass(frozen=True)
class FitRecipe:
    """How λ is fitted.

    Args:
        geometry: weights of the landmark energy.
        calibration_photos: spread over the folder; from them the mean person is learned. 0 leaves the model's own.
        calibration_rounds: of it.
        learn_albedo: whether the morphable model gets the photos' albedo; without it λ belongs to the model as it is.
        num_albedo: components of it.
        batch: photos fitted at a time; a finished batch survives a kill.
    """

    geometry: GeometrySettings = field(default_factory=GeometrySettings)
    calibration_photos: int = 500
    calibration_rounds: int = 4
    learn_albedo: bool = True
    num_albedo: int = 80
    batch: int = 100


def fit(
    prepared: Path,
    out: Path,
    recipe: FitRecipe,
    *,
    morphable: Path | None = None,
    correspondence: Path | None = None,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Fit all photos and write OUT; returns the figures.

    Args:
        prepared: what `python -m training prepare` wrote.
        out: `lambda.parquet`, `morphable/` where albedo is learned, sheets, metrics and the steps in between.
        recipe: how.
        morphable: the model to fit; the bundled one when None.
        correspondence: the landmarks on that model; the bundled one's face mesh when None.
        report: told each step.

    Raises:
        DatasetError: the prepared photos' landmarks aren't those of the correspondence.
        OutputMismatchError: OUT holds a fit with other settings.
    """
    photos = PreparedPhotos(prepared)
    landmarks = torch.from_numpy(photos.rows.landmarks - MARGIN_PX)
    basis = MorphableBasis.load(morphable)
    points = Correspondence.load() if correspondence is None else Correspondence.load(correspondence)
    if landmarks.shape[1] != len(points.vertices):
        raise DatasetError(
            f"{prepared}: {landmarks.shape[1]} landmarks per photo, the correspondence has {len(points.vertices)}; prepare "
            "the photos with the face mesh, or give the correspondence of your own landmarks"
        )
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, recipe)
    geometry = _geometry(basis, points, landmarks, recipe, out, report)
    surface = _surface(basis, photos, geometry, out, report)
    light, mean = fit_lights(basis, surface, report=report)
    if recipe.learn_albedo:
        basis, learned = learn_albedo(basis, surface, light, mean, num_albedo=recipe.num_albedo, report=report)
        basis = replace(
            basis, card={**basis.card, "albedo": _provenance(len(photos)), "albedo_figures": to_plain(learned)}
        )
        basis.save(out / MORPHABLE)
        basis = MorphableBasis.load(out / MORPHABLE)  # as it will be read: bases are stored as float16
    alpha, error = _albedo_coefficients(basis, surface, light, report)
    factors = Factors(geometry.shape, alpha, geometry.expression, light.sh, geometry.pose_rad)
    crops = recrop(photos.rows.crop, geometry.view.numpy())
    _write(out / TABLE, photos, basis, factors, geometry, crops, error)
    figures = measure(basis, photos, factors, geometry, surface, report=report)
    (out / METRICS).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_sheets(out, basis, photos, factors, geometry.view.numpy())
    return figures


def _claim(out: Path, recipe: FitRecipe) -> None:
    path = out / RESOLVED
    mine = json.loads(json.dumps({"fit": to_plain(recipe)}))
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != mine:
        raise OutputMismatchError(
            f"{out}: holds a fit with other settings ({path.name}); name another folder, or remove it"
        )
    save_resolved(path, "fit", recipe)


def _geometry(
    basis: MorphableBasis, points: Correspondence, landmarks: Tensor, recipe: FitRecipe, out: Path, report: Report
) -> Geometry:
    """Pose, crop, shape and actions of all photos, batch by batch."""
    points, centre = _calibration(basis, points, landmarks, recipe, out, report)
    fitter = GeometryFit(basis, points, recipe.geometry, centre=centre)
    folder = out / _PARTS
    folder.mkdir(exist_ok=True)
    parts, started, done = [], time.monotonic(), 0
    for first in range(0, len(landmarks), recipe.batch):
        path = folder / f"{first:06d}.npz"
        batch = landmarks[first : first + recipe.batch]
        if not path.is_file():
            _save_arrays(path, fitter.fit(batch)._asdict())
            done += len(batch)
            rate = done / (time.monotonic() - started)
            left = (len(landmarks) - first - len(batch)) / rate
            report(f"geometry: {first + len(batch)}/{len(landmarks)} photos, {rate:.1f}/s, {left:.0f} s left")
        parts.append(Geometry(**_load_arrays(path)))
    return Geometry(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _calibration(
    basis: MorphableBasis, points: Correspondence, landmarks: Tensor, recipe: FitRecipe, out: Path, report: Report
) -> tuple[Correspondence, Tensor]:
    path = out / _CALIBRATION
    if recipe.calibration_photos == 0:
        return points, torch.zeros(basis.num_shape)
    if not path.is_file():
        step = max(1, len(landmarks) // recipe.calibration_photos)
        points, centre = calibrate(
            basis, points, landmarks[::step], settings=recipe.geometry, rounds=recipe.calibration_rounds, report=report
        )
        arrays = {name: torch.from_numpy(getattr(points, name)) for name in ("vertices", "weights", "deviation_dm")}
        _save_arrays(path, {**arrays, "centre": centre})
    found = _load_arrays(path)
    centre = found.pop("centre")
    return Correspondence(**{name: value.numpy() for name, value in found.items()}), centre


def _surface(basis: MorphableBasis, photos: PreparedPhotos, geometry: Geometry, out: Path, report: Report) -> Surface:
    """The photos' colours on the fitted meshes."""
    path = out / _SURFACE
    if not path.is_file():
        views = geometry.view.numpy()
        num = len(photos)
        sh = torch.zeros(num, 3, 9)
        factors = Factors(
            geometry.shape, torch.zeros(num, basis.num_albedo), geometry.expression, sh, geometry.pose_rad
        )

        def pictures() -> Any:
            for row in range(num):
                if row % 500 == 0:
                    report(f"colours on the mesh: {row}/{num} photos")
                yield framed(photos, row, views[row], SIZE_PX)

        found = sample_surface(MorphableModel(basis), pictures(), factors)
        _save_arrays(path, {name: getattr(found, name) for name in ("colour", "normals", "weight")})
    return Surface(basis.face_vertices, **_load_arrays(path))


def _albedo_coefficients(
    basis: MorphableBasis, surface: Surface, light: Light, report: Report
) -> tuple[Tensor, Tensor]:
    """α_t (N, Kt) of all photos, and what is left of the albedo unexplained (N,), weighted RMS, linear RGB."""
    found = []
    for first in range(0, len(surface), 250):
        rows = slice(first, first + 250)
        albedo, weight = albedo_of(surface, light, rows)
        found.append(fit_albedo(basis, surface.vertices, albedo, weight))
    report("albedo coefficients")
    alpha, error = (torch.cat(column) for column in zip(*found, strict=True))
    return alpha, error


def _write(
    path: Path,
    photos: PreparedPhotos,
    basis: MorphableBasis,
    factors: Factors,
    geometry: Geometry,
    crops: Any,
    error: Tensor,
) -> None:
    columns = {name: getattr(factors, name).reshape(len(photos), -1).numpy() for name in Factors._fields}
    table = LambdaTable(photos.rows.key, columns, basis.expression_names, basis.name)
    extra = {
        "source": photos.rows.source,
        "crop": np.asarray(crops, np.float32),
        "residual_px": geometry.residual_px.numpy(),
        "albedo_error": error.numpy(),
    }
    temporary = path.with_name(f".{path.name}.tmp.parquet")
    write_table(temporary, table, extra=extra, half=True)
    temporary.replace(path)


def _provenance(num_photos: int) -> str:
    return f"mean and components learned from {num_photos} photos; eyes, mouth, scalp, ears and neck painted"


def _save_arrays(path: Path, arrays: Any) -> None:
    temporary = path.with_name(f".{path.name}.tmp.npz")
    np.savez(temporary, **{name: value.numpy() for name, value in arrays.items()})
    temporary.replace(path)


def _load_arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: can't be read ({error}); remove it and run the same command again") from error
