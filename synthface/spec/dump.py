"""Dataclasses back to YAML's words, with every default written out."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

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
from synthface.spec.model import (
    DEFAULT_CONDITION,
    Audit,
    Environment,
    Expression,
    ExpressionMixture,
    FactorPrior,
    Factors,
    Identities,
    Joint,
    Leaf,
    LeftOut,
    Light,
    Lighting,
    LightRig,
    Named,
    Neutral,
    Per,
    Pose,
    SHLighting,
    Spec,
)

Words = dict[str, Any]


def spec_to_dict(spec: Spec) -> Words:
    """Plain data that loads to an equal spec. A factor that is still `LeftOut` stays out."""
    words: Words = {
        "version": spec.version,
        "name": spec.name,
        "seed": spec.seed,
        "generator": spec.generator,
        "truncation": {"psi": number(spec.truncation.psi), "kind": spec.truncation.kind},
        "identities": _identities(spec.identities),
        "factors": _factors(spec.factors),
        "joint": [_joint(joint) for joint in spec.joint],
        "correlate": [{"between": list(c.between), "rho": _matrix(c.rho)} for c in spec.correlate],
        # `factor`: every factor is written out, so nothing is left to merge.
        "conditions": {c.name: {**_factors(c.factors), "merge": "factor"} for c in spec.conditions},
        "images_per_identity": _counts(spec),
        "design": _design(spec),
        "splits": {name: number(share) for name, share in spec.splits.items()},
        "pairs": {name: _pair_list(pairs) for name, pairs in spec.pairs.items()},
        "quality": {} if spec.quality.audit is None else {"audit": _audit(spec.quality.audit)},
        "output": _output(spec),
    }
    return {key: value for key, value in words.items() if value not in ({}, []) or key == "factors"}


def number(value: float) -> int | float:
    """A whole number as an integer, so that it reads as people write it."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return int(value) if is_whole else value


def _numbers(values: Mapping[str, Any]) -> Words:
    return {key: number(value) for key, value in values.items()}


def _matrix(rows: tuple[tuple[float, ...], ...]) -> list[list[int | float]]:
    return [[number(value) for value in row] for row in rows]


# ----------------------------------------------------------------------------------------------------- distributions


def leaf_to_words(leaf: Leaf, *, per: Per = "image") -> Any:
    """A leaf as YAML says it; `per` is the default where it stands and isn't repeated."""
    words = distribution_to_words(leaf.distribution)
    if leaf.per == per:
        return words.get("constant", words)
    return {**words, "per": leaf.per}


def distribution_to_words(distribution: Distribution) -> Words:
    """A distribution as YAML says it, in its long form."""
    d = distribution
    if isinstance(d, Constant):
        return {"constant": number(d.value)}
    if isinstance(d, Uniform):
        return {"uniform": [number(d.low), number(d.high)]}
    if isinstance(d, Normal):
        bounds = {"low": d.low, "high": d.high}
        finite = {key: bound for key, bound in bounds.items() if bound is not None and abs(bound) != float("inf")}
        return {"normal": _numbers({"mean": d.mean, "std": d.std, **finite})}
    if isinstance(d, Beta):
        return {"beta": _numbers({"a": d.a, "b": d.b, "low": d.low, "high": d.high})}
    if isinstance(d, VonMises):
        return {"von_mises": _numbers({"mean": d.mean, "kappa": d.kappa})}
    if isinstance(d, Grid):
        return {"grid": [number(value) for value in d.values]}
    if isinstance(d, Choice):
        values = [number(value) for value in d.values]
        return {"choice": {"values": values, "weights": [number(w) for w in d.weights]} if d.weights else values}
    if isinstance(d, Mixture):
        return {"mixture": [{"weight": number(w), **distribution_to_words(c)} for w, c in d.components]}
    assert isinstance(d, Table), d
    return {"table": {"file": d.file.name, "column": d.column, **({"weight": d.weight} if d.weight else {})}}


# ----------------------------------------------------------------------------------------------------------- factors


def _factors(factors: Factors) -> Words:
    words: Words = {}
    if not isinstance(factors.pose, LeftOut):
        words["pose"] = _pose(factors.pose)
    if not isinstance(factors.expression, LeftOut):
        words["expression"] = _expression(factors.expression)
    if not isinstance(factors.lighting, LeftOut):
        words["lighting"] = _lighting(factors.lighting)
    return {**words, "noise": {"per": factors.noise.per}}


def _prior(prior: FactorPrior) -> Words:
    words: Words = {"prior": {"scale": number(prior.scale)}}
    return words if prior.per == "image" else {**words, "per": prior.per}


def _pose(pose: Pose | FactorPrior) -> Words:
    if isinstance(pose, FactorPrior):
        return _prior(pose)
    return {name: leaf_to_words(getattr(pose, name)) for name in ("yaw", "pitch", "roll")}


def _expression(expression: Expression) -> Words:
    if isinstance(expression, FactorPrior):
        return _prior(expression)
    if isinstance(expression, Named):
        return {"named": {name: leaf_to_words(leaf) for name, leaf in expression.values.items()}}
    if isinstance(expression, Neutral):
        return {"neutral": True}
    assert isinstance(expression, ExpressionMixture), expression
    components = [{"weight": number(weight), **_expression(component)} for weight, component in expression.components]
    per = {} if expression.per == "image" else {"per": expression.per}
    return {"mixture": components, **per}


def _lighting(lighting: Lighting) -> Words:
    if isinstance(lighting, FactorPrior):
        return _prior(lighting)
    frame: Words = {"frame": lighting.frame}
    if isinstance(lighting, SHLighting):
        return {**frame, "sh": _matrix(lighting.coefficients)}
    if isinstance(lighting, Environment):
        leaves = {name: leaf_to_words(getattr(lighting, name)) for name in ("rotate", "intensity")}
        return {**frame, "environment": {"file": lighting.file.name, **leaves}}
    assert isinstance(lighting, LightRig), lighting
    return {
        **frame,
        "ambient": leaf_to_words(lighting.ambient),
        "lights": [_light(light) for light in lighting.lights],
    }


def _light(light: Light) -> Words:
    return {name: leaf_to_words(leaf) for name, leaf in vars(light).items() if leaf is not None}


# ---------------------------------------------------------------------------------------------------------- the rest


def _identities(identities: Identities) -> Words:
    words: Words = {"count": identities.count, "sample": {"prior": {"scale": number(identities.sample.scale)}}}
    if identities.min_distance is not None:
        words |= {"min_distance": number(identities.min_distance), "max_tries": identities.max_tries}
    if identities.attributes:
        words["attributes"] = {
            name: leaf_to_words(leaf, per="identity") for name, leaf in identities.attributes.items()
        }
    if identities.balance is not None:
        balance = identities.balance
        words["balance"] = {**_numbers(vars(balance)), "edges": [number(edge) for edge in balance.edges]}
    return words if identities.reuse is None else {**words, "from": identities.reuse}


def _audit(audit: Audit) -> Words:
    return {key: "off" if value is None else value for key, value in _numbers(vars(audit)).items()}


def _joint(joint: Joint) -> Words:
    weight = {"weight": joint.weight} if joint.weight else {}
    return {"table": {"file": joint.table.name, "columns": dict(joint.columns), **weight}, "per": joint.per}


def _counts(spec: Spec) -> Any:
    counts = dict(spec.images_per_identity)
    return counts[DEFAULT_CONDITION] if list(counts) == [DEFAULT_CONDITION] and not _has_strata(spec) else counts


def _has_strata(spec: Spec) -> bool:
    return bool(spec.conditions) and spec.design.kind != "one_factor"


def _design(spec: Spec) -> Any:
    design = spec.design
    if design.kind in ("random", "sobol"):
        return design.kind
    if design.kind == "factorial":
        return {"kind": "factorial", "axes": list(design.axes)}
    anchor = {"anchor": design.anchor} if design.anchor else {}
    return {"kind": "one_factor", "vary": list(design.vary), "steps": design.steps, **anchor}


def _pair_list(pairs: Any) -> Words:
    words = {key: value for key, value in vars(pairs).items() if key != "across"}
    return {**words, "across": list(pairs.across)} if pairs.across else words


def _output(spec: Spec) -> Words:
    image = vars(spec.output.image)
    is_png = spec.output.image.format == "png" and spec.output.image.quality == 95
    return {
        "image": {key: value for key, value in image.items() if not (is_png and key == "quality")},
        "post": [{post.kind: leaf_to_words(post.value)} for post in spec.output.post],
        "annotations": list(spec.output.annotations),
        "shards": dict(vars(spec.output.shards)),
    }


# -------------------------------------------------------------------------------------------------- text and digest


def to_yaml(words: Words) -> str:
    """Plain data as YAML; short lists and mappings on one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.width = 120
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None alone
    yaml.allow_unicode = True
    stream = io.StringIO()
    yaml.dump(words, stream)
    return stream.getvalue()


def digest(spec: Spec) -> str:
    """SHA-256 over canonical JSON. Files count by content, so their names are replaced by their hashes."""
    words = _with_hashes(spec_to_dict(spec), {ref.name: ref.sha256 for ref in spec.files()})
    canonical = json.dumps(words, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _with_hashes(value: Any, hashes: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_with_hashes(item, hashes) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: f"sha256:{hashes[item]}" if key == "file" and item in hashes else _with_hashes(item, hashes)
        for key, item in value.items()
    }
