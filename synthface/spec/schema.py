"""The JSON Schema of a spec, and its errors in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from synthface.spec.names import ARKIT_ACTIONS, EXPRESSION_ALIASES, FACTOR_NAMES, nearest
from synthface.spec.reader import Finding, Place

DISTRIBUTIONS = ("constant", "uniform", "normal", "beta", "von_mises", "choice", "mixture", "grid", "table")

_TYPE_WORDS = {
    "number": "a number",
    "integer": "a whole number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
    "boolean": "true or false",
    "null": "nothing",
}


def schema_json() -> str:
    """The schema as JSON text, for editors and other tools."""
    return files("synthface.spec").joinpath("schema.json").read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """A copy of the schema as plain data."""
    return copy.deepcopy(_schema())


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(schema_json())
    return loaded


@lru_cache(maxsize=1)
def _validator() -> Draft202012Validator:
    return Draft202012Validator(_schema())


def schema_findings(data: Any) -> list[Finding]:
    """Everything in `data` that the schema doesn't allow."""
    if data is None:
        return [Finding((), "the spec is empty; start from one of the files in specs/")]
    if not isinstance(data, Mapping):
        return [Finding((), f"found {shown(data)}; a spec is a mapping: `version: 1`, `name: …`, `seed: …` and so on")]
    return [finding for error in _validator().iter_errors(data) for finding in _in_words(error)]


def shown(value: Any) -> str:
    """A value from a spec, short and on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        keys = ", ".join(str(key) for key in list(value)[:3])
        return f"a mapping ({keys}{', …' if len(value) > 3 else ''})" if value else "an empty mapping"
    if isinstance(value, str):
        return f"the text {_clipped(repr(value))}"
    if isinstance(value, Sequence):
        return f"a list of {len(value)}"
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return _clipped(repr(int(value) if is_whole else value))


def suggestion(name: str, allowed: Sequence[str]) -> str:
    """`; did you mean 'x'?`, or nothing."""
    found = nearest(name, allowed)
    return f"; did you mean {found!r}?" if found else ""


def listed(names: Sequence[str], most: int = 60) -> str:
    """Names with commas, shortened."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _clipped(text: str, length: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else flat[: length - 1] + "…"


def _in_words(error: Any) -> Iterator[Finding]:
    """A jsonschema ValidationError in our words. Any, because its fields are typed as perhaps unset."""
    place: Place = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        name = str(error.instance)
        yield Finding((*place, name), f"found the name {_clipped(repr(name))}; {_NAME_RULE}", on_key=True)
    elif error.validator == "additionalProperties":
        allowed = sorted(error.schema["properties"])
        for key in error.instance:
            if key not in error.schema["properties"]:
                yield Finding((*place, key), _unknown_key(place, str(key), allowed), on_key=True)
    elif error.validator == "required":
        key = next(key for key in error.validator_value if f"{key!r} is a required" in error.message)
        yield Finding((*place, key), f"this is missing; add it{_described(error.schema, key)}", on_key=True)
    else:
        yield Finding(place, _about_value(error))


_NAME_RULE = "allowed: a letter, then letters, digits and '_' (splits, expressions: lower case; conditions: '-' too)"


_DESIGN_HINT = ", or a mapping: {kind: factorial, axes: [..]}, {kind: one_factor, vary: [..], steps: 5}"


def _unknown_key(place: Place, key: str, allowed: Sequence[str]) -> str:
    message = f"unknown key {_clipped(repr(key))}; allowed: {listed(allowed)}"
    if key == "prior" and "uniform" in allowed:
        return f"{message}. A prior is for a whole factor: `pose: prior`"
    if "named" in allowed and (key in ARKIT_ACTIONS or key in EXPRESSION_ALIASES):
        return f"{message}. Actions go under `named`: `named: {{{key}: …}}`"
    if key in FACTOR_NAMES and not place:
        return f"{message}. `{key}` goes under `factors`"
    return message + suggestion(key, allowed)


def _described(schema: Mapping[str, Any], key: str) -> str:
    description = schema.get("properties", {}).get(key, {}).get("description")
    return f": {description}" if description else ""


def _about_value(error: Any) -> str:
    found, rule, limit = shown(error.instance), str(error.validator), error.validator_value
    if rule == "type":
        return f"found {found}; allowed: {_types(error)}{_quoted_number(error)}"
    if rule == "enum":
        choices = [_plain(choice) for choice in limit]
        guess = suggestion(error.instance, choices) if isinstance(error.instance, str) else ""
        hint = _DESIGN_HINT if error.instance in ("factorial", "one_factor") else guess
        return f"found {found}; allowed: {listed(choices)}{hint}"
    if rule == "const":
        return _about_const(error)
    words = {
        "minimum": f"allowed: {_plain(limit)} or more",
        "maximum": f"allowed: at most {_plain(limit)}",
        "exclusiveMinimum": f"allowed: more than {_plain(limit)}",
        "pattern": f"allowed: text like {limit}",
        "minLength": "allowed: text of at least one character",
        "maxLength": f"allowed: at most {limit} characters",
        "minItems": f"allowed: at least {limit} values",
        "maxItems": f"allowed: at most {limit} values",
        "minProperties": f"allowed: {_at_least(error)}",
        "maxProperties": f"allowed: at most {limit} of them",
        "uniqueItems": "allowed: each value once",
    }
    return f"found {found}; {words.get(rule, error.message)}{_meaning(error)}"


def _types(error: Any) -> str:
    kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    if kinds == ["number", "object"]:
        return "a number, or one distribution such as {uniform: [low, high]}"
    return " or ".join(_TYPE_WORDS[kind] for kind in kinds) + _meaning(error)


def _meaning(error: Any) -> str:
    description = error.schema.get("description") if isinstance(error.schema, Mapping) else None
    return f" ({description.rstrip('.')})" if description else ""


def _quoted_number(error: Any) -> str:
    try:
        float(error.instance)
    except (TypeError, ValueError):
        return ""
    return "; remove the quotes" if isinstance(error.instance, str) else ""


def _about_const(error: Any) -> str:
    if tuple(error.absolute_path) == ("version",):
        return (
            f"found {shown(error.instance)}; this synthface reads version 1. Write `version: 1`, or install the "
            "synthface that the spec was written for (CHANGELOG.md lists what each reads)"
        )
    return f"found {shown(error.instance)}; allowed: {_plain(error.validator_value)}{_meaning(error)}"


def _at_least(error: Any) -> str:
    properties = sorted(error.schema.get("properties", {}))
    least = f"at least {error.validator_value} of them"
    return f"{least}: {listed(properties)}" if properties else least


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def sound_part(data: Any, findings: Sequence[Finding]) -> dict[str, Any]:
    """What is left of `data` without the parts that are wrong: valid but for missing top-level keys.

    Checks of meaning run on it, so that one slip in the grammar hides no others.
    """
    if not isinstance(data, Mapping):
        return {}
    kept = copy.deepcopy(dict(data))
    faults: Sequence[Finding] = findings
    while faults:
        targets = {_target(kept, finding.place) for finding in faults} - {()}
        for target in targets:
            _remove(kept, target)
        faults = [f for f in schema_findings(kept) if len(f.place) > 1] if targets else []
    return kept


def _target(data: Mapping[str, Any], place: Place) -> Place:
    """What to remove for a fault at `place`: it, the whole list around it (its neighbours would change their places),
    or what lacks it."""
    steps = [i for i, step in enumerate(place) if isinstance(step, int)]
    place = place[: steps[0]] if steps else place
    parent: Any = data
    for number, step in enumerate(place):
        if not isinstance(parent, Mapping) or step not in parent:
            return place[:number]
        parent = parent[step]
    return place


def _remove(data: dict[str, Any], place: Place) -> None:
    """Delete the value at `place`, and what it leaves empty-handed: a leaf without a distribution."""
    parent: Any = data
    for step in place[:-1]:
        parent = parent.get(step) if isinstance(parent, dict) else None
    if isinstance(parent, dict):
        parent.pop(place[-1], None)
        if len(place) > 1 and parent and set(parent) <= {"per", "weight"}:
            _remove(data, place[:-1])
