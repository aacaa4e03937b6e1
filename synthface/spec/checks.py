"""What each value of a schema-valid document means by itself: bounds, names, files. Relations come after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from synthface.spec.files import SpecFiles, UnusableFileError
from synthface.spec.leaves import leaf_findings
from synthface.spec.names import ARKIT_ACTIONS, EXPRESSION_ALIASES, FACTOR_NAMES, actions_of
from synthface.spec.reader import Finding, Place
from synthface.spec.schema import listed, suggestion

#: Generators whose actions are known without loading them.
_ARKIT_GENERATORS = ("default", "3dmm")
_RIG_KEYS = ("ambient", "lights")


def value_findings(data: Mapping[str, Any], files: SpecFiles) -> list[Finding]:
    """Everything wrong with single values of a schema-valid document, which may lack parts."""
    is_arkit = data.get("generator", "default") in _ARKIT_GENERATORS
    return [
        *_identities(data.get("identities", {}), files),
        *_factors(("factors",), data.get("factors", {}), files, is_arkit=is_arkit),
        *(
            finding
            for name, condition in data.get("conditions", {}).items()
            for finding in _factors(("conditions", name), condition, files, is_arkit=is_arkit)
        ),
        *_joint_tables(data.get("joint", []), files),
        *_output(data.get("output", {}), files),
    ]


def _identities(data: Mapping[str, Any], files: SpecFiles) -> Iterator[Finding]:
    for name, value in data.get("attributes", {}).items():
        place: Place = ("identities", "attributes", name)
        if isinstance(value, Mapping) and value.get("per") == "image":
            yield Finding((*place, "per"), "an attribute belongs to an identity; allowed: identity, dataset")
        yield from leaf_findings(place, value, f"identities.attributes.{name}", files)
    edges = data.get("balance", {}).get("edges", [0, 1])
    if any(low >= high for low, high in pairwise(edges)):
        yield Finding(("identities", "balance", "edges"), f"found {edges}; allowed: increasing edges")
    if "max_tries" in data and "min_distance" not in data:
        message = "`max_tries` here is for `min_distance`; add that, or put it under `balance`, or remove it"
        yield Finding(("identities", "max_tries"), message, on_key=True)
    if "from" in data:
        ruled_out = [key for key in ("sample", "min_distance", "attributes", "balance") if key in data]
        for key in ruled_out:
            message = f"`from` takes identities as they are; remove `{key}` or `from`"
            yield Finding(("identities", key), message, on_key=True)


def _factors(place: Place, data: Mapping[str, Any], files: SpecFiles, *, is_arkit: bool) -> Iterator[Finding]:
    for name in FACTOR_NAMES:
        value = data.get(name)
        if isinstance(value, Mapping):
            here = (*place, name)
            yield from _per_findings(here, name, value)
            if name == "pose":
                yield from _pose(here, value, files)
            elif name == "expression":
                yield from _expression(here, value, files, is_arkit=is_arkit)
            elif name == "lighting":
                yield from _lighting(here, value, files)


def _per_findings(place: Place, name: str, value: Mapping[str, Any]) -> Iterator[Finding]:
    has_draw = name == "noise" or "prior" in value or "mixture" in value
    if "per" in value and not has_draw:
        message = "`per` here needs a prior or a mixture; put it beside the distribution of a single value instead"
        yield Finding((*place, "per"), message, on_key=True)


def _pose(place: Place, data: Mapping[str, Any], files: SpecFiles) -> Iterator[Finding]:
    angles = [name for name in ("yaw", "pitch", "roll") if name in data]
    if "prior" in data and angles:
        message = f"found a prior and {listed(angles)}; allowed: a prior alone, or angles"
        yield Finding((*place, "prior"), message, on_key=True)
    for name in angles:
        yield from leaf_findings((*place, name), data[name], f"pose.{name}", files)


def _expression(place: Place, data: Mapping[str, Any], files: SpecFiles, *, is_arkit: bool) -> Iterator[Finding]:
    kinds = [key for key in ("neutral", "prior", "named", "mixture") if key in data]
    if len(kinds) != 1:
        found = f"{len(kinds)} kinds ({listed(kinds)})" if kinds else "no kind"
        yield Finding(place, f"found {found}; allowed: exactly one of neutral, prior, named, mixture", on_key=True)
    for number, component in enumerate(data.get("mixture", [])):
        yield from _expression((*place, "mixture", number), component, files, is_arkit=is_arkit)
    named = data.get("named", {})
    if is_arkit:
        yield from (finding for name in named for finding in _unknown_action((*place, "named", name), name))
    yield from _driven_twice((*place, "named"), named)
    for name, value in named.items():
        yield from leaf_findings((*place, "named", name), value, f"expression.{name}", files)


def _unknown_action(place: Place, name: str) -> Iterator[Finding]:
    known = [*ARKIT_ACTIONS, *EXPRESSION_ALIASES]
    if name not in known:
        rule = f"allowed: ARKit's 52 in snake case, or {listed(list(EXPRESSION_ALIASES))}"
        yield Finding(place, f"unknown action {name!r}{suggestion(name, known) or '; ' + rule}", on_key=True)


def _driven_twice(place: Place, named: Mapping[str, Any]) -> Iterator[Finding]:
    """Two names that move the same action leave open which of them counts."""
    driver: dict[str, str] = {}
    for name in named:
        clash = next((driver[action] for action in actions_of(name) if action in driver), None)
        if clash is not None:
            yield Finding((*place, name), f"{name!r} and {clash!r} drive the same action; keep one", on_key=True)
        driver.update(dict.fromkeys(actions_of(name), name))


def clashes_after_merging(place: Place, factors: Mapping[str, Any]) -> list[Finding]:
    """Actions driven twice in merged factors, where each part alone was sound."""
    return list(_driven_twice((*place, "expression", "named"), factors.get("expression", {}).get("named", {})))


def _lighting(place: Place, data: Mapping[str, Any], files: SpecFiles) -> Iterator[Finding]:
    kinds = [key for key in ("preset", "sh", "environment", "prior") if key in data]
    is_rig = any(key in data for key in _RIG_KEYS)
    if len(kinds) > 1 or (is_rig and kinds and kinds != ["preset"]):
        found = listed([*kinds, *(key for key in _RIG_KEYS if key in data)])
        rule = "ambient and lights (over a preset, if you like), or one of sh, environment, prior"
        yield Finding(place, f"found {found} together; allowed: {rule}", on_key=True)
    if "prior" in data and "frame" in data:
        yield Finding((*place, "frame"), "a prior has no frame of its own; remove `frame`", on_key=True)
    if "environment" in data:
        yield from _environment((*place, "environment"), data["environment"], files)
    if "ambient" in data:
        yield from leaf_findings((*place, "ambient"), data["ambient"], "lighting.ambient", files)
    for number, light in enumerate(data.get("lights", [])):
        for name, value in light.items():
            path = f"lighting.lights[{number}].{name}"
            yield from leaf_findings((*place, "lights", number, name), value, path, files)


def _environment(place: Place, data: Mapping[str, Any], files: SpecFiles) -> Iterator[Finding]:
    try:
        files.environment(data["file"])
    except UnusableFileError as error:
        yield Finding((*place, "file"), str(error))
    for name in ("rotate", "intensity"):
        if name in data:
            yield from leaf_findings((*place, name), data[name], f"lighting.environment.{name}", files)


def _joint_tables(joints: list[Any], files: SpecFiles) -> Iterator[Finding]:
    for number, joint in enumerate(joints):
        place: Place = ("joint", number, "table")
        table = joint["table"]
        try:
            files.ref(table["file"], (".csv", ".parquet"))
        except UnusableFileError as error:
            yield Finding((*place, "file"), str(error))
            continue
        for path, column in table["columns"].items():
            value = {"table": {"file": table["file"], "column": column}}
            findings = leaf_findings((), value, path, files)
            yield from (Finding((*place, "columns", path), finding.message) for finding in findings)
        if "weight" in table:
            yield from _weight_findings((*place, "weight"), table, files)


def _weight_findings(place: Place, table: Mapping[str, Any], files: SpecFiles) -> Iterator[Finding]:
    try:
        files.columns(table["file"], [table["weight"]], table["weight"])
    except UnusableFileError as error:
        yield Finding(place, str(error))


def _output(data: Mapping[str, Any], files: SpecFiles) -> Iterator[Finding]:
    image = data.get("image", {})
    if image.get("format") == "png" and "quality" in image:
        message = "`quality` is for jpg and png has none; remove it, or write `format: jpg`"
        yield Finding(("output", "image", "quality"), message, on_key=True)
    for number, post in enumerate(data.get("post", [])):
        for kind, value in post.items():
            place: Place = ("output", "post", number, kind)
            yield from leaf_findings(place, value, f"output.post[{number}].{kind}", files)
