"""Distributions between YAML's words and objects: checked, built, and said again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from synthface.spec.distributions import (
    Beta,
    Choice,
    Constant,
    Distribution,
    Grid,
    Mixture,
    Normal,
    Table,
    Uniform,
    VonMises,
)
from synthface.spec.files import SpecFiles, UnusableFileError
from synthface.spec.model import Leaf, Per
from synthface.spec.names import limits_of
from synthface.spec.reader import Finding, Place
from synthface.spec.schema import DISTRIBUTIONS, listed, shown

_SHORT_FORMS = {
    "uniform": ("low", "high"),
    "normal": ("mean", "std"),
    "beta": ("a", "b"),
    "von_mises": ("mean", "kappa"),
}
_ANGLES = ("yaw", "pitch", "roll", "azimuth", "elevation", "rotate")


def kinds_in(value: Mapping[str, Any]) -> list[str]:
    """The distributions that a mapping names."""
    return [key for key in value if key in DISTRIBUTIONS]


def parameters(kind: str, value: Any) -> dict[str, Any]:
    """A distribution's parameters by name, whichever form they were written in."""
    if isinstance(value, list) and kind in _SHORT_FORMS:
        return dict(zip(_SHORT_FORMS[kind], value, strict=True))
    if kind == "grid" and isinstance(value, Mapping):
        return {"values": _evenly(value["start"], value["stop"], int(value["num"]))}
    if kind in ("choice", "grid") and isinstance(value, list):
        return {"values": value}
    return {"value": value} if kind == "constant" else dict(value)


def _evenly(start: float, stop: float, num: int) -> list[float]:
    return [start + (stop - start) * i / (num - 1) for i in range(num)] if num > 1 else [start]


# ------------------------------------------------------------------------------------------------------------ checks


def leaf_findings(place: Place, value: Any, path: str, files: SpecFiles) -> list[Finding]:
    """What is wrong with a leaf's value, schema-valid, at `place`; `path` is the leaf's."""
    findings = list(_form_findings(place, value, path, files))
    if findings:
        return findings
    return list(_reach_findings(place, build_leaf(value, files).distribution, path))


def _form_findings(place: Place, value: Any, path: str, files: SpecFiles) -> Iterator[Finding]:
    if not isinstance(value, Mapping):
        return
    kinds = kinds_in(value)
    if len(kinds) != 1:
        found = f"{len(kinds)} distributions ({listed(kinds)})" if kinds else "no distribution"
        yield Finding(place, f"found {found}; allowed: exactly one of {listed(DISTRIBUTIONS)}", on_key=True)
        return
    (kind,) = kinds
    check = _CHECKS.get(kind)
    if kind == "mixture":
        for number, component in enumerate(value["mixture"]):
            yield from _form_findings((*place, "mixture", number), component, path, files)
    elif kind == "table":
        yield from _table_findings((*place, "table"), value["table"], files)
    elif kind == "von_mises" and path.rpartition(".")[2] not in _ANGLES:
        yield Finding((*place, kind), "von_mises is for angles; use normal, uniform or beta here", on_key=True)
    elif check:
        yield from (Finding((*place, kind), message) for message in check(value[kind]))


def _check_uniform(value: Any) -> Iterator[str]:
    p = parameters("uniform", value)
    if p["low"] == p["high"]:
        yield f"both bounds are {shown(p['low'])}; for a constant write the number alone"
    elif p["low"] > p["high"]:
        low, high = shown(p["low"]), shown(p["high"])
        yield f"found low {low} above high {high}; allowed: low < high: did you mean [{high}, {low}]?"


def _check_normal(value: Any) -> Iterator[str]:
    p = parameters("normal", value)
    if p["std"] <= 0:
        yield f"found std {shown(p['std'])}; allowed: more than 0. For a constant write the number alone"
        return
    low, high = p.get("low", -float("inf")), p.get("high", float("inf"))
    if low >= high:
        yield f"found low {shown(low)} and high {shown(high)}; allowed: low < high"
    elif max(low - p["mean"], p["mean"] - high) > 6 * p["std"]:
        yield (
            f"the bounds {shown(low)} to {shown(high)} are more than 6 standard deviations from the mean "
            f"{shown(p['mean'])}, where nothing is drawn; move the mean or the bounds, or use uniform"
        )


def _check_beta(value: Any) -> Iterator[str]:
    p = parameters("beta", value)
    yield from (f"found {k} {shown(p[k])}; allowed: more than 0" for k in ("a", "b") if p[k] <= 0)
    if p.get("low", 0) >= p.get("high", 1):
        yield f"found low {shown(p.get('low', 0))} and high {shown(p.get('high', 1))}; allowed: low < high"


def _check_von_mises(value: Any) -> Iterator[str]:
    p = parameters("von_mises", value)
    if not 0 < p["kappa"] <= 1e5:
        yield f"found kappa {shown(p['kappa'])}; allowed: more than 0, at most 100000"
    if not -180 <= p["mean"] <= 180:
        yield f"found mean {shown(p['mean'])}; allowed: -180 to 180 degrees"


def _check_choice(value: Any) -> Iterator[str]:
    p = parameters("choice", value)
    num_values, num_weights = len(p["values"]), len(p.get("weights", p["values"]))
    if num_values != num_weights:
        yield f"found {num_values} values and {num_weights} weights; allowed: a weight for each value"


def _check_grid(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and (value["num"] == 1) != (value["start"] == value["stop"]):
        ends = f"{shown(value['start'])} to {shown(value['stop'])}"
        yield f"found num {shown(value['num'])} from {ends}; allowed: one level from equal ends, several from others"
        return
    levels = parameters("grid", value)["values"]
    repeated = sorted({level for level in levels if levels.count(level) > 1})
    if repeated:
        yield f"found the level {shown(repeated[0])} more than once; allowed: each level once (`choice` has weights)"


_CHECKS: dict[str, Callable[[Any], Iterator[str]]] = {
    "uniform": _check_uniform,
    "normal": _check_normal,
    "beta": _check_beta,
    "von_mises": _check_von_mises,
    "choice": _check_choice,
    "grid": _check_grid,
}


def _table_findings(place: Place, table: Mapping[str, Any], files: SpecFiles) -> Iterator[Finding]:
    try:
        files.columns(table["file"], [table["column"]], table.get("weight"))
    except UnusableFileError as error:
        yield Finding(place, str(error))


def reach(distribution: Distribution) -> tuple[float, float]:
    """The lowest and highest value that can come out: of an unbounded normal, about 8 standard deviations."""
    if isinstance(distribution, Mixture):
        reaches = [reach(component) for _, component in distribution.components]
        return min(low for low, _ in reaches), max(high for _, high in reaches)
    if isinstance(distribution, Normal):
        low, high = distribution.ppf(np.array([_SMALLEST_UNIFORM, 1 - 2 * _SMALLEST_UNIFORM]))
        return float(low), float(high)
    return distribution.bounds


#: Uniform random numbers are multiples of 2^-53, plus half of that.
_SMALLEST_UNIFORM = 2.0**-54


def _reach_findings(place: Place, distribution: Distribution, path: str) -> Iterator[Finding]:
    if isinstance(distribution, Mixture):
        for number, (_, component) in enumerate(distribution.components):
            yield from _reach_findings((*place, "mixture", number), component, path)
        return
    low, high = limits_of(path)
    reach_low, reach_high = reach(distribution)
    goes_round = isinstance(distribution, VonMises)
    if not goes_round and (reach_low < low or reach_high > high):
        truncated = f"low: {shown(low)}, high: {shown(high)}"
        advice = f"; truncate it: {{mean: …, std: …, {truncated}}}" if isinstance(distribution, Normal) else ""
        span = shown(reach_low) if reach_low == reach_high else f"{shown(reach_low)} to {shown(reach_high)}"
        yield Finding(place, f"found {span}; allowed for {path}: {shown(low)} to {shown(high)}{advice}")


# -------------------------------------------------------------------------------------------------- build and say again


def build_leaf(value: Any, files: SpecFiles, *, per: Per = "image") -> Leaf:
    """A leaf from a sound value; `per` is its default."""
    if not isinstance(value, Mapping):
        return Leaf(Constant(float(value)), per)
    return Leaf(_build(value, files), value.get("per", per))


def _build(value: Mapping[str, Any], files: SpecFiles) -> Distribution:
    (kind,) = kinds_in(value)
    if kind == "mixture":
        return Mixture(tuple((float(c["weight"]), _build(c, files)) for c in value["mixture"]))
    p = parameters(kind, value[kind])
    if kind == "table":
        values, weights = files.columns(p["file"], [p["column"]], p.get("weight"))
        ref = files.ref(p["file"], (".csv", ".parquet"))
        return Table(ref, p["column"], p.get("weight"), values[:, 0], weights)
    if kind in ("choice", "grid"):
        p = {name: tuple(float(v) for v in numbers) for name, numbers in p.items()}
    else:
        p = {name: float(v) for name, v in p.items()}
    return _CLASSES[kind](**p)


_CLASSES: dict[str, Callable[..., Distribution]] = {
    "constant": Constant,
    "uniform": Uniform,
    "normal": Normal,
    "beta": Beta,
    "von_mises": VonMises,
    "choice": Choice,
    "grid": Grid,
}
