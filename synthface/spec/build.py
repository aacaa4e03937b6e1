"""A sound document to dataclasses. Assumes that every check has passed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synthface.spec.files import SpecFiles
from synthface.spec.leaves import build_leaf
from synthface.spec.merge import long_form, merged_factors
from synthface.spec.model import (
    DEFAULT_CONDITION,
    Audit,
    Balance,
    Condition,
    Correlation,
    Design,
    Environment,
    Expression,
    ExpressionMixture,
    FactorPrior,
    Factors,
    Identities,
    Image,
    Joint,
    LeftOut,
    Light,
    Lighting,
    LightRig,
    Named,
    Neutral,
    Noise,
    Output,
    PairList,
    Pose,
    Post,
    Quality,
    Shards,
    SHLighting,
    Source,
    Spec,
    Truncation,
)
from synthface.spec.names import AUDIT_LIMITS, FACTOR_NAMES
from synthface.spec.presets import FACTOR_DEFAULTS, LEAF_DEFAULTS

ARCFACE_SIZE_PX = 112


def build_spec(data: Mapping[str, Any], files: SpecFiles, source: Source) -> Spec:
    """The spec that a sound document describes."""
    base = {name: long_form(name, factor) for name, factor in data.get("factors", {}).items()}
    conditions = {name: merged_factors(base, given) for name, given in data.get("conditions", {}).items()}
    for factors in (base, *conditions.values()):
        _fill_named_factors(factors, named_leaves(data))
    return Spec(
        version=1,
        name=data["name"],
        seed=int(data["seed"]),
        generator=data.get("generator", "default"),
        truncation=_truncation(data.get("truncation", {})),
        identities=_identities(data["identities"], files),
        factors=build_factors(base, files),
        joint=tuple(_joint(joint, files) for joint in data.get("joint", [])),
        correlate=tuple(Correlation(tuple(c["between"]), rho_matrix(c)) for c in data.get("correlate", [])),
        conditions=tuple(Condition(name, build_factors(factors, files)) for name, factors in conditions.items()),
        images_per_identity=_counts(data["images_per_identity"]),
        design=_design(data.get("design", "random")),
        splits={name: float(share) for name, share in data.get("splits", {"train": 1}).items()},
        pairs={name: _pair_list(pairs) for name, pairs in data.get("pairs", {}).items()},
        quality=_quality(data.get("quality", {})),
        output=_output(data.get("output", {}), files),
        source=source,
    )


def named_leaves(data: Mapping[str, Any]) -> list[str]:
    """Every leaf path that joint tables, correlations and designs speak of."""
    return [path for _, path in named_leaf_places(data)]


def named_leaf_places(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The same, with their places in the document."""
    for number, joint in enumerate(data.get("joint", [])):
        yield from ((("joint", number, "table", "columns", path), path) for path in joint["table"]["columns"])
    for number, correlation in enumerate(data.get("correlate", [])):
        yield from ((("correlate", number, "between", i), path) for i, path in enumerate(correlation["between"]))
    design = data.get("design", {})
    for key in ("axes", "vary") if isinstance(design, Mapping) else ():
        yield from ((("design", key, i), path) for i, path in enumerate(design.get(key, [])))


def _fill_named_factors(factors: dict[str, Any], paths: list[str]) -> None:
    """A factor left out, of which a leaf is named elsewhere, takes its documented default rather than a prior."""
    for name in ("pose", "lighting"):
        if name not in factors and any(path.startswith(f"{name}.") for path in paths):
            factors[name] = FACTOR_DEFAULTS[name]


# ----------------------------------------------------------------------------------------------------------- factors


def build_factors(data: Mapping[str, Any], files: SpecFiles) -> Factors:
    """Factors from their long forms; what is missing is `LeftOut`."""
    unknown = set(data) - set(FACTOR_NAMES)
    assert not unknown, unknown
    return Factors(
        pose=_pose(data["pose"], files) if "pose" in data else LeftOut(),
        expression=_expression(data["expression"], files) if "expression" in data else LeftOut(),
        lighting=_lighting(data["lighting"], files) if "lighting" in data else LeftOut(),
        noise=Noise(data.get("noise", {}).get("per", "image")),
    )


def _prior(data: Mapping[str, Any]) -> FactorPrior:
    return FactorPrior(float(data["prior"].get("scale", 1)), data.get("per", "image"))


def _pose(data: Mapping[str, Any], files: SpecFiles) -> Pose | FactorPrior:
    if "prior" in data:
        return _prior(data)
    angles = {name: data.get(name, LEAF_DEFAULTS[f"pose.{name}"]) for name in ("yaw", "pitch", "roll")}
    return Pose(**{name: build_leaf(value, files) for name, value in angles.items()})


def _expression(data: Mapping[str, Any], files: SpecFiles) -> Expression:
    if "mixture" not in data:
        return _simple_expression(data, files)
    components = ((float(component["weight"]), _simple_expression(component, files)) for component in data["mixture"])
    return ExpressionMixture(tuple(components), data.get("per", "image"))


def _simple_expression(data: Mapping[str, Any], files: SpecFiles) -> Neutral | Named | FactorPrior:
    if "prior" in data:
        return _prior(data)
    if "named" in data:
        return Named({name: build_leaf(value, files) for name, value in data["named"].items()})
    return Neutral()


def _lighting(data: Mapping[str, Any], files: SpecFiles) -> Lighting:
    frame = data.get("frame", "camera")
    if "prior" in data:
        return _prior(data)
    if "sh" in data:
        return SHLighting(tuple(tuple(float(value) for value in channel) for channel in data["sh"]), frame)
    if "environment" in data:
        return _environment(data["environment"], frame, files)
    ambient = build_leaf(data.get("ambient", LEAF_DEFAULTS["lighting.ambient"]), files)
    return LightRig(ambient, tuple(_light(light, files) for light in data.get("lights", [])), frame)


def _environment(data: Mapping[str, Any], frame: Any, files: SpecFiles) -> Environment:
    ref, sh = files.environment(data["file"])
    leaves = {
        name: build_leaf(data.get(name, LEAF_DEFAULTS[f"lighting.environment.{name}"]), files)
        for name in ("rotate", "intensity")
    }
    return Environment(file=ref, sh=sh, frame=frame, **leaves)


def _light(data: Mapping[str, Any], files: SpecFiles) -> Light:
    return Light(**{name: build_leaf(value, files) for name, value in data.items()})


# ---------------------------------------------------------------------------------------------------------- the rest


def _truncation(data: Mapping[str, Any]) -> Truncation:
    default = Truncation()
    return Truncation(float(data.get("psi", default.psi)), data.get("kind", default.kind))


def _identities(data: Mapping[str, Any], files: SpecFiles) -> Identities:
    sample = data.get("sample", "prior")
    scale = 1.0 if isinstance(sample, str) else float(sample["prior"].get("scale", 1))
    attributes = {name: build_leaf(value, files, per="identity") for name, value in data.get("attributes", {}).items()}
    return Identities(
        count=int(data["count"]),
        sample=FactorPrior(scale, "identity"),
        min_distance=float(data["min_distance"]) if "min_distance" in data else None,
        attributes=attributes,
        balance=_balance(data["balance"]) if "balance" in data else None,
        reuse=data.get("from"),
        max_tries=int(data.get("max_tries", Identities.max_tries)),
    )


def _balance(data: Mapping[str, Any]) -> Balance:
    edges = tuple(float(edge) for edge in data["edges"])
    return Balance(data["by"], edges, float(data.get("tolerance", 0.02)), int(data.get("max_tries", 20)))


def _joint(data: Mapping[str, Any], files: SpecFiles) -> Joint:
    table = data["table"]
    values, weights = files.columns(table["file"], list(table["columns"].values()), table.get("weight"))
    ref = files.ref(table["file"], (".csv", ".parquet"))
    return Joint(ref, dict(table["columns"]), values, weights, table.get("weight"), data.get("per", "image"))


def rho_matrix(data: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """The correlation matrix; one number stands for every pair."""
    rho, size = data["rho"], len(data["between"])
    if isinstance(rho, list):
        return tuple(tuple(float(value) for value in row) for row in rho)
    return tuple(tuple(1.0 if i == j else float(rho) for j in range(size)) for i in range(size))


def _counts(data: Any) -> dict[str, int]:
    if not isinstance(data, Mapping):
        return {DEFAULT_CONDITION: int(data)}
    return {name: int(count) for name, count in data.items()}


def _design(data: Any) -> Design:
    if isinstance(data, str):
        return Design(data)  # type: ignore[arg-type]  # the schema has checked it
    axes, vary = tuple(data.get("axes", ())), tuple(data.get("vary", ()))
    return Design(data["kind"], axes, vary, int(data.get("steps", 0)), data.get("anchor"))


def _pair_list(data: Mapping[str, Any]) -> PairList:
    numbers = (int(data["genuine"]), int(data["impostor"]), int(data.get("folds", 10)))
    return PairList(data["split"], *numbers, tuple(data.get("across", ())))


def _quality(data: Mapping[str, Any]) -> Quality:
    if "audit" not in data:
        return Quality()
    default, audit = Audit(), data["audit"]
    limits = {name: audit.get(name, getattr(default, name)) for name in AUDIT_LIMITS}
    return Quality(
        Audit(
            **{name: None if limit in ("off", None) else float(limit) for name, limit in limits.items()},
            on_fail=audit.get("on_fail", default.on_fail),
            redraw=audit.get("redraw", default.redraw),
            max_tries=int(audit.get("max_tries", default.max_tries)),
            fraction=float(audit.get("fraction", default.fraction)),
            estimator=audit.get("estimator", default.estimator),
        )
    )


def _output(data: Mapping[str, Any], files: SpecFiles) -> Output:
    default, image, shards = Output(), data.get("image", {}), data.get("shards", {})
    crop = image.get("crop", default.image.crop)
    size = image.get("size", ARCFACE_SIZE_PX if crop == "arcface" else default.image.size)
    file_format, quality = image.get("format", default.image.format), image.get("quality", default.image.quality)
    post = ((kind, value) for step in data.get("post", []) for kind, value in step.items())
    return Output(
        image=Image(int(size), crop, file_format, int(quality)),
        post=tuple(Post(kind, build_leaf(value, files)) for kind, value in post),
        annotations=tuple(data.get("annotations", default.annotations)),
        shards=Shards(int(shards.get("samples", default.shards.samples)), shards.get("order", default.shards.order)),
    )
