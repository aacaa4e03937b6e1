"""The schema is a contract that editors and other tools can read."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from synthface.factors.lighting import PRESETS
from synthface.spec import schema, schema_json
from synthface.spec.names import ANNOTATIONS, ARKIT_ACTIONS, EXPRESSION_ALIASES
from synthface.spec.reader import read_text
from synthface.spec.schema import DISTRIBUTIONS
from tests.spec.mutations import BASES


def test_it_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(schema_json()) == schema()


def test_every_property_is_described():
    """An editor has something to show for each key."""
    missing = [where for where, node in properties(schema()) if not node.get("description")]
    assert not missing


def properties(node: Any, where: str = ""):
    if isinstance(node, dict):
        for name, child in node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ():
            if "if" not in where.split("/"):
                yield f"{where}/{name}", resolved(child)
        for key, child in node.items():
            if key != "if":
                yield from properties(child, f"{where}/{key}")
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from properties(child, f"{where}/{number}")


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return schema()["$defs"][node["$ref"].rpartition("/")[2]]
    return node


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
@pytest.mark.parametrize("draft", [jsonschema.Draft202012Validator, jsonschema.Draft7Validator])
def test_editors_of_either_draft_accept_the_real_specs(base, draft):
    """Many editors know only draft 7; its reading of the schema accepts the same files."""
    data = read_text(base.read_text(encoding="utf-8")).data
    assert not list(draft(schema()).iter_errors(data))


@pytest.mark.parametrize("draft", [jsonschema.Draft202012Validator, jsonschema.Draft7Validator])
def test_editors_of_either_draft_see_a_wrong_leaf(draft):
    data = read_text(BASES[0].read_text(encoding="utf-8")).data
    data["factors"]["pose"]["yaw"] = {"uniform": [1, 2, 3]}
    (error,) = draft(schema()).iter_errors(data)
    assert list(error.absolute_path) == ["factors", "pose", "yaw", "uniform"]


def test_its_lists_are_those_of_the_code():
    definitions = schema()["$defs"]
    assert definitions["lighting"]["then"]["properties"]["preset"]["enum"] == list(PRESETS)
    assert definitions["output"]["properties"]["annotations"]["items"]["enum"] == list(ANNOTATIONS)
    assert set(definitions["distribution"]["properties"]) == {*DISTRIBUTIONS, "per"}


def test_aliases_drive_known_actions():
    assert len(ARKIT_ACTIONS) == 52
    assert {action for actions in EXPRESSION_ALIASES.values() for action in actions} <= set(ARKIT_ACTIONS)
    assert not set(EXPRESSION_ALIASES) & set(ARKIT_ACTIONS)


def test_the_aliases_are_documented_where_editors_show_them():
    described = schema()["$defs"]["named"]["description"]
    for alias, actions in EXPRESSION_ALIASES.items():
        assert f"{alias} = {', '.join(actions)}" in described
