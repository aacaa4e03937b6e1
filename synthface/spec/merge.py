"""Conditions over factors, in the spec's own words: what a condition gives overrides, the rest is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthface.spec.names import FACTOR_NAMES
from synthface.spec.presets import LIGHT_PRESETS

_WHOLE_LIGHTINGS = ("sh", "environment", "prior")


def merged_factors(base: Mapping[str, Any], condition: Mapping[str, Any]) -> dict[str, Any]:
    """The factors of a condition, complete.

    With `merge: leaf`, angles, actions, ambient light and frame are overridden one by one; a list of lights or a
    mixture is one value and replaced whole, and so is a factor whose kind changes (lights by a prior, say). With
    `merge: factor`, every factor mentioned replaces the spec's.
    """
    merged = {name: long_form(name, base[name]) for name in FACTOR_NAMES if name in base}
    for name in FACTOR_NAMES:
        if name in condition:
            given = long_form(name, condition[name])
            is_kept = name in merged and condition.get("merge", "leaf") == "leaf"
            merged[name] = _MERGE[name](merged[name], given) if is_kept else given
    return merged


def long_form(name: str, factor: Any) -> dict[str, Any]:
    """A factor without shorthand: `neutral` and `prior` as mappings, a preset as its lights."""
    if isinstance(factor, str):
        return {"neutral": True} if factor == "neutral" else {"prior": {}}
    if name == "lighting" and "preset" in factor:
        return {**LIGHT_PRESETS[factor["preset"]], **{key: v for key, v in factor.items() if key != "preset"}}
    return dict(factor)


def _merge_pose(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return given if "prior" in given or "prior" in base else {**base, **given}


def _merge_expression(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if "named" in base and "named" in given:
        return {"named": {**base["named"], **given["named"]}}
    return given


def _merge_lighting(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if set(given) == {"frame"}:
        return {**base, **given}
    kinds = [next((kind for kind in _WHOLE_LIGHTINGS if kind in lighting), "rig") for lighting in (base, given)]
    if kinds == ["rig", "rig"]:
        return {**base, **given}
    if kinds == ["environment", "environment"]:
        return {**base, **given, "environment": {**base["environment"], **given["environment"]}}
    return given


def _merge_noise(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {**base, **given}


_MERGE = {
    "pose": _merge_pose,
    "expression": _merge_expression,
    "lighting": _merge_lighting,
    "noise": _merge_noise,
}
