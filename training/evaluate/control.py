"""Asked for against read off the pictures, factor by factor, by the judge.

Each factor is swept evenly with everything else random: the angles of the head, named expressions, where the light comes
from. Random pictures give skin tone, landmarks, and every factor's correlation as it comes.

A line of best fit (estimate on request) has slope 1 where the generator and the judge do as they are told; a judge that
shrinks towards the mean shows on `3dmm`, whose pictures are right by construction: read a bundle's figures beside those.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.factors import lighting
from synthface.factors.pose import AXES
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.skin import individual_typology_angle, skin_colour
from synthface.networks.mapping import GROUPS
from synthface.spec.names import actions_of
from training.evaluate.bench import Bench
from training.gan.metrics import correlation

F64 = npt.NDArray[np.float64]

_BIN_DEG = 10.0
_ELEVATION_DEG = (-10.0, 40.0)
#: The sweeping light: its own intensity, and that of the ambient light beside it.
_INTENSITY, _AMBIENT = 0.8, 0.35


def count(bench: Bench) -> int:
    """Pictures to look at."""
    sizes = bench.recipe.control
    swept = 3 * sizes.num_pose + len(known_expressions(bench)) * sizes.num_expression + sizes.num_lighting
    return swept + sizes.num_random


def measure(bench: Bench) -> dict[str, Any]:
    """Control error of every factor.

    Raises:
        Unavailable: there is no judge.
    """
    judge = bench.require_judge()
    names = known_expressions(bench)
    return {
        "networks": [judge.name],
        "pose": {axis: _pose(bench, number, axis) for number, axis in enumerate(AXES)},
        "expression": {name: _expression(bench, name) for name in names},
        "left_out": [name for name in bench.recipe.control.expressions if name not in names],
        "lighting": _lighting(bench),
        "random": _random(bench),
    }


def known_expressions(bench: Bench) -> list[str]:
    """The named expressions all of whose actions the generator has and its factors use."""
    actions = bench.subject.layout.expression_names
    columns = bench.source.sizes.columns("expression")
    used = dict(zip(actions, (bench.source.table[:, columns].std(dim=0) > 1e-6).tolist(), strict=True))
    return [name for name in bench.recipe.control.expressions if all(used.get(a, False) for a in actions_of(name))]


def agreement(asked: F64, read: F64, *, bin_width: float, failure: float | None = None) -> dict[str, Any]:
    """How numbers read off pictures (N,) follow those asked for (N,).

    Returns:
        Mean absolute error, bias, root mean square error; slope and intercept of the line of best fit; correlation; the
        curve: per bin of what was asked, median and 10 % and 90 % of what was read, and with `failure` the share that is
        off by more.
    """
    error = read - asked
    slope, intercept = _line(asked, read)
    result: dict[str, Any] = {
        "num": len(asked),
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "slope": slope,
        "intercept": intercept,
        "correlation": correlation(torch.from_numpy(asked), torch.from_numpy(read)),
    }
    if failure is not None:
        result |= {"failure": failure, "failures": float((np.abs(error) > failure).mean())}
    bins = np.floor(asked / bin_width).astype(int)
    result["curve"] = [
        _bin(number * bin_width, bin_width, read[bins == number], error[bins == number], failure)
        for number in sorted(set(bins.tolist()))
    ]
    return result


def _bin(low: float, width: float, read: F64, error: F64, failure: float | None) -> dict[str, float]:
    p10, median, p90 = np.quantile(read, (0.1, 0.5, 0.9))
    found = {"from": low, "to": low + width, "num": len(read), "median": median, "p10": p10, "p90": p90}
    found["mae"] = np.abs(error).mean()
    if failure is not None:
        found["failures"] = (np.abs(error) > failure).mean()
    return {name: float(value) for name, value in found.items()}


def _line(x: F64, y: F64) -> tuple[float, float]:
    """Slope and intercept of the least-squares line; slope 0 where x is constant."""
    spread = ((x - x.mean()) ** 2).sum()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread > 1e-12 else 0.0
    return slope, float(y.mean() - slope * x.mean())


def _sweep(bench: Bench, stream: str, num: int) -> tuple[Tensor, Tensor, F64]:
    """λ, ε and uniform numbers (num, 2) in [0, 1) of a sweep."""
    rng = bench.rng(f"control {stream}")
    vector, noise = bench.source.vectors(num, rng=rng), bench.source.noise(num, rng=rng)
    return vector, noise, torch.rand(num, 2, generator=rng, dtype=torch.float64).numpy()


def _pose(bench: Bench, number: int, axis: str) -> dict[str, Any]:
    sizes, column = bench.recipe.control, bench.source.sizes.parts["pose_rad"].start + number
    vector, noise, uniform = _sweep(bench, f"pose {axis}", sizes.num_pose)
    asked_deg = (2 * uniform[:, 0] - 1) * sizes.max_pose_deg[number]
    vector[:, column] = torch.from_numpy(np.radians(asked_deg)).to(vector)
    read = bench.read(vector, noise, [bench.require_judge()])["vector"][:, column]
    figures = agreement(
        asked_deg, np.degrees(read.double().numpy()), bin_width=_BIN_DEG, failure=bench.recipe.control.failure_deg
    )
    return {"unit": "degree", "trusted": bench.subject.layout.trusted_ranges.get(f"pose.{axis}"), **figures}


def _expression(bench: Bench, name: str) -> dict[str, Any]:
    sizes, place = bench.recipe.control, bench.source.sizes.parts["expression"]
    actions = bench.subject.layout.expression_names
    columns = [place.start + actions.index(action) for action in actions_of(name)]
    vector, noise, uniform = _sweep(bench, f"expression {name}", sizes.num_expression)
    asked = uniform[:, 0]
    vector[:, columns] = torch.from_numpy(asked).to(vector)[:, None]
    read = bench.read(vector, noise, [bench.require_judge()])["vector"]
    figures = agreement(asked, read[:, columns].double().mean(dim=1).numpy(), bin_width=0.2)
    others = {
        action: correlation(torch.from_numpy(asked), read[:, place.start + k].double())
        for k, action in enumerate(actions)
        if place.start + k not in columns
    }
    strongest = max(others, key=lambda action: abs(others[action]), default=None)
    other = None if strongest is None else {"action": strongest, "correlation": others[strongest]}
    return {"actions": list(actions_of(name)), **figures, "strongest_other": other}


def _lighting(bench: Bench) -> dict[str, Any]:
    sizes, place = bench.recipe.control, bench.source.sizes.parts["sh"]
    vector, noise, uniform = _sweep(bench, "lighting", sizes.num_lighting)
    azimuth = (2 * uniform[:, 0] - 1) * sizes.max_azimuth_deg
    elevation = _ELEVATION_DEG[0] + uniform[:, 1] * (_ELEVATION_DEG[1] - _ELEVATION_DEG[0])
    sh = lighting.ambient(np.full(len(azimuth), _AMBIENT))
    sh += lighting.directional(azimuth, elevation, np.full(len(azimuth), _INTENSITY))
    vector[:, place] = torch.from_numpy(sh.reshape(-1, 27)).to(vector)
    read = bench.read(vector, noise, [bench.require_judge()])["vector"][:, place]
    found = lighting.dominant_direction(read.double().numpy().reshape(-1, 3, 9))
    nearest = azimuth + (found[:, 0] - azimuth + 180.0) % 360.0 - 180.0
    return {
        "azimuth": {"unit": "degree", **agreement(azimuth, nearest, bin_width=20.0, failure=30.0)},
        "elevation": {"unit": "degree", **agreement(elevation, found[:, 1], bin_width=10.0, failure=30.0)},
    }


def _random(bench: Bench) -> dict[str, Any]:
    """Skin tone, landmarks, and every factor's numbers as they come."""
    num, sizes = bench.recipe.control.num_random, bench.source.sizes
    vector, read = bench.pool(num)
    asked, found = vector.double(), read["vector"].double()
    albedo = sizes.parts["albedo"]
    tones = [skin_tone_deg(bench.subject.basis, v[:, albedo].numpy()) for v in (asked, found)]
    off = (read["landmarks"] - read["asked_landmarks"]).double().norm(dim=2)
    eyes = read["asked_landmarks"].double()
    between = (eyes[:, 36:42].mean(dim=1) - eyes[:, 42:48].mean(dim=1)).norm(dim=1)
    factors = {}
    for group in GROUPS:
        columns = [c for c in sizes.columns(group).tolist() if float(asked[:, c].std()) > 1e-6]
        each = [correlation(asked[:, c], found[:, c]) for c in columns]
        factors[group] = {"mean_correlation": float(np.mean(each)) if each else math.nan, "num": len(columns)}
    return {
        "num": num,
        "skin_tone_ita": {"unit": "degree", **agreement(*tones, bin_width=_BIN_DEG)},
        "landmarks": {
            "mean_error_of_size": float(off.mean()),
            "mean_error_of_eye_distance": float((off.mean(dim=1) / between).mean()),
            "per_landmark_of_size": off.mean(dim=0).tolist(),
        },
        "factors": factors,
    }


def skin_tone_deg(basis: MorphableBasis, albedo: F64) -> F64:
    """ITA° (N,) of the reference skin without light, as specs and labels count it, for albedo coefficients (N, Kt)."""
    colour = skin_colour(basis)
    return np.asarray(individual_typology_angle((colour.mean + albedo @ colour.steps).clip(1e-4, 1.0)))
