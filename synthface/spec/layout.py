"""A spec and a generator together: what the generator lacks, where it isn't trusted, and what stands in for what is
left out. The only place where a spec meets a `FactorLayout` before planning."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from synthface.errors import SpecError, SpecProblem
from synthface.factors.types import FactorLayout
from synthface.spec.build import build_factors
from synthface.spec.distributions import Distribution
from synthface.spec.files import SpecFiles
from synthface.spec.leaves import reach
from synthface.spec.loader import problems_from
from synthface.spec.model import (
    Environment,
    Expression,
    ExpressionMixture,
    FactorPrior,
    Factors,
    Leaf,
    LeftOut,
    LightRig,
    Named,
    Pose,
    Spec,
)
from synthface.spec.names import EXPRESSION_ALIASES, actions_of
from synthface.spec.presets import FACTOR_DEFAULTS
from synthface.spec.reader import Finding, Place
from synthface.spec.schema import listed, shown, suggestion

#: Share of draws outside the trusted range that is let pass without a word.
_NEGLIGIBLE = 1e-4
_NUM_PROBES = 20_000


@dataclass(frozen=True)
class LayoutReport:
    """What a generator makes of a spec: `problems` stop it, `warnings` don't."""

    problems: tuple[SpecProblem, ...]
    warnings: tuple[SpecProblem, ...]


def resolve(spec: Spec, layout: FactorLayout) -> Spec:
    """The spec with every factor given: the generator's prior, or the documented default where it has none.

    Idempotent. What is planned, digested and written beside the data is the resolved spec.

    Raises:
        SpecError: the spec asks for what this generator hasn't got.
    """
    report = check_against_layout(spec, layout)
    if report.problems:
        raise SpecError(report.problems)
    conditions = tuple(dataclasses.replace(c, factors=_filled(c.factors, layout)) for c in spec.conditions)
    return dataclasses.replace(spec, factors=_filled(spec.factors, layout), conditions=conditions)


def check_against_layout(spec: Spec, layout: FactorLayout) -> LayoutReport:
    """Everything this generator can't do of what the spec asks, and everything outside the ranges it was made for."""
    problems = [*_attributes(spec, layout), *_balance(spec, layout)]
    warnings: list[Finding] = []
    for place, factors, base in _scopes(spec):
        problems += _priors(place, factors, base, layout)
        problems += _actions(place, factors, base, layout)
        warnings += _untrusted(place, factors, base, layout)
    return LayoutReport(problems_from(problems, spec.source), problems_from(warnings, spec.source))


def _filled(factors: Factors, layout: FactorLayout) -> Factors:
    names = [name for name in FACTOR_DEFAULTS if isinstance(getattr(factors, name), LeftOut)]
    return dataclasses.replace(factors, **{name: _stand_in(name, layout) for name in names})


def _stand_in(name: str, layout: FactorLayout) -> Any:
    if name in layout.priors:
        return FactorPrior()
    words = FACTOR_DEFAULTS[name]
    if name == "expression":
        words = _known_expressions(words, layout.expression_names)
    return getattr(build_factors({name: words}, SpecFiles(Path())), name)


def _known_expressions(words: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """The default mixture without the components that need actions this generator hasn't got."""
    components = [
        component
        for component in words["mixture"]
        if all(action in known for name in component.get("named", {}) for action in actions_of(name))
    ]
    return {"mixture": components}


# ---------------------------------------------------------------------------------------------------------- problems


def _balance(spec: Spec, layout: FactorLayout) -> Iterator[Finding]:
    """A balance needs an attribute, and one that reaches every bin."""
    balance, place = spec.identities.balance, ("identities", "balance")
    if balance is None:
        return
    known = sorted(layout.attributes)
    if balance.by not in known:
        has = f"allowed: {listed(known)}" if known else "it has none"
        message = f"this generator has no attribute {balance.by!r}; {has}{suggestion(balance.by, known)}"
        yield Finding((*place, "by"), message)
        return
    axis = layout.attributes[balance.by]
    low, high = float(axis.values[0]), float(axis.values[-1])
    asked = spec.identities.attributes.get(balance.by)
    if asked is not None:
        reach_low, reach_high = reach(asked.distribution)
        low, high = max(low, reach_low), min(high, reach_high)
        if asked.per == "dataset":
            message = f"{balance.by} is drawn once for the dataset, so nothing can be balanced; write `per: identity`"
            yield Finding(("identities", "attributes", balance.by), message)
            return
    for number, (start, stop) in enumerate(pairwise(balance.edges)):
        if stop <= low or start >= high:
            message = (
                f"nobody can fall between {shown(start)} and {shown(stop)}: {balance.by} goes from {_inside(low, high)} "
                "here; take edges within that"
            )
            yield Finding((*place, "edges", number), message)


def _attributes(spec: Spec, layout: FactorLayout) -> Iterator[Finding]:
    known = sorted(layout.attributes)
    for name, leaf in spec.identities.attributes.items():
        place: Place = ("identities", "attributes", name)
        if name not in layout.attributes:
            has = f"allowed: {listed(known)}" if known else "it has none"
            yield Finding(
                place, f"this generator has no attribute {name!r}; {has}{suggestion(name, known)}", on_key=True
            )
            continue
        axis = layout.attributes[name]
        low, high = float(axis.values[0]), float(axis.values[-1])
        reach_low, reach_high = reach(leaf.distribution)
        if reach_low < low or reach_high > high:
            span = f"{_rounded(reach_low)} to {_rounded(reach_high)}"
            yield Finding(place, f"found {span}; allowed with this generator: {_inside(low, high)} {axis.unit}s")


def _inside(low: float, high: float) -> str:
    """Bounds rounded inwards, so that what is printed is allowed."""
    return f"{np.ceil(low * 100) / 100:g} to {np.floor(high * 100) / 100:g}"


def _rounded(value: float) -> str:
    return shown(round(value, 3))


def _scopes(spec: Spec) -> Iterator[tuple[Place, Factors, Factors | None]]:
    """(place, factors, what they were merged over): what a condition inherits is judged once, in `factors`."""
    yield ("factors",), spec.factors, None
    for condition in spec.conditions:
        yield ("conditions", condition.name), condition.factors, spec.factors


def _priors(place: Place, factors: Factors, base: Factors | None, layout: FactorLayout) -> Iterator[Finding]:
    for name in ("pose", "expression", "lighting"):
        value = getattr(factors, name)
        is_inherited = base is not None and value == getattr(base, name)
        if name not in layout.priors and not is_inherited:
            for inner in _prior_places(value):
                has = f"it has one for {listed(sorted(layout.priors))}" if layout.priors else "it has learned none"
                message = f"`prior` for {name} is not available yet with this generator: {has}; give values instead"
                yield Finding((*place, name, *inner), message)


def _prior_places(value: Any) -> Iterator[Place]:
    if isinstance(value, FactorPrior):
        yield ("prior",)
    for number, (_, component) in enumerate(getattr(value, "components", ())):
        yield from (("mixture", number, *inner) for inner in _prior_places(component))


def _actions(place: Place, factors: Factors, base: Factors | None, layout: FactorLayout) -> Iterator[Finding]:
    known = [*layout.expression_names]
    aliases = [alias for alias, actions in EXPRESSION_ALIASES.items() if set(actions) <= set(known)]
    for inner, path, _ in _placed_leaves(factors, base):
        name = path.partition(".")[2]
        if path.startswith("expression.") and not set(actions_of(name)) <= set(known):
            guess = suggestion(name, [*known, *aliases])
            message = f"this generator has no action {name!r}{guess}; allowed: {listed([*aliases, *known], 80)}"
            yield Finding((*place, *inner), message, on_key=True)


# ---------------------------------------------------------------------------------------------------------- warnings


def _untrusted(place: Place, factors: Factors, base: Factors | None, layout: FactorLayout) -> Iterator[Finding]:
    for inner, path, leaf in _placed_leaves(factors, base):
        trusted = _trusted_range(path, layout)
        share, low, high = _outside(leaf.distribution, *trusted) if trusted else (0.0, 0.0, 0.0)
        if trusted and share > _NEGLIGIBLE:
            excess = max(trusted[0] - low, high - trusted[1])
            yield Finding(
                (*place, *inner),
                f"{path} reaches {_rounded(low)} to {_rounded(high)}, but this generator is trusted from "
                f"{shown(trusted[0])} to {shown(trusted[1])}: {share:.1%} of the draws are outside, by up to "
                f"{_rounded(excess)}",
            )


def _trusted_range(path: str, layout: FactorLayout) -> tuple[float, float] | None:
    """The range for a leaf: by its path, its path without the light's number, or what the alias drives."""
    names = [path, re.sub(r"\[\d+\]", "", path)]
    factor, _, name = path.partition(".")
    names += [f"{factor}.{action}" for action in actions_of(name)] if factor == "expression" else []
    ranges = [layout.trusted_ranges[name] for name in names if name in layout.trusted_ranges]
    return (max(low for low, _ in ranges), min(high for _, high in ranges)) if ranges else None


def _outside(distribution: Distribution, low: float, high: float) -> tuple[float, float, float]:
    """Share of draws outside [low, high], and the extremes among evenly spaced quantiles."""
    values = distribution.ppf((np.arange(_NUM_PROBES) + 0.5) / _NUM_PROBES)
    lowest, highest = distribution.bounds
    lowest = lowest if np.isfinite(lowest) else float(values.min())
    highest = highest if np.isfinite(highest) else float(values.max())
    return float(((values < low) | (values > high)).mean()), lowest, highest


# ------------------------------------------------------------------------------------------------- leaves and places


def _placed_leaves(factors: Factors, base: Factors | None) -> Iterator[tuple[Place, str, Leaf]]:
    """(place within the factors' document, path, leaf), without those that are the same in `base`."""
    inherited = list(_all_placed(base)) if base is not None else []
    yield from (found for found in _all_placed(factors) if found not in inherited)


def _all_placed(factors: Factors) -> Iterator[tuple[Place, str, Leaf]]:
    if isinstance(factors.pose, Pose):
        for name in ("yaw", "pitch", "roll"):
            yield ("pose", name), f"pose.{name}", getattr(factors.pose, name)
    yield from _placed_actions(("expression",), factors.expression)
    if isinstance(factors.lighting, (LightRig, Environment)):
        for path, leaf in factors.leaves():
            if path.startswith("lighting."):
                steps = re.findall(r"[^.\[\]]+", path)
                yield tuple(int(step) if step.isdigit() else step for step in steps), path, leaf


def _placed_actions(place: Place, expression: Expression | LeftOut) -> Iterator[tuple[Place, str, Leaf]]:
    if isinstance(expression, Named):
        for name, leaf in expression.values.items():
            yield (*place, "named", name), f"expression.{name}", leaf
    elif isinstance(expression, ExpressionMixture):
        for number, (_, component) in enumerate(expression.components):
            yield from _placed_actions((*place, "mixture", number), component)
