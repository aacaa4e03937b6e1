"""The README says what the code does."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from synthface.cards import label_table
from synthface.cli import cli
from synthface.job import prepare
from synthface.spec.loader import load_spec
from tests.conftest import everything
from tests.specs_for_tests import tiny

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_label_reference_is_the_codes_own() -> None:
    job = prepare(everything())
    columns = [asdict(c) | {"origin": c.origin.value} for c in job.columns if not c.name.startswith("post")]
    for line in label_table(columns).splitlines():
        assert line in README


def test_the_yaml_on_top_is_a_spec() -> None:
    block = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert block
    assert load_spec(block[1]).num_images == 200


@pytest.mark.parametrize("line", re.findall(r"^\| `(\w+: .*?)` \|", README, re.MULTILINE))
def test_every_example_line_is_understood(line: str) -> None:
    """Lines of the table that are complete by themselves, put where they belong."""
    if "…" in line or "file:" in line:
        return
    for example in line.split("`, `"):
        if ":" not in example.split("{")[0]:
            continue
        ((key, value),) = YAML(typ="safe").load(example).items()
        factors: dict[str, object] = {
            "pose": {"pitch": {"uniform": [-5, 5]}},
            "lighting": {"ambient": {"uniform": [0.3, 0.5]}, "lights": []},
        }
        changes: dict[str, object] = {}
        if key == "jaw_open":
            factors["expression"] = {"named": {key: value}}
        elif key in ("yaw", "pitch", "roll"):
            factors["pose"] = {key: value}
        elif key in ("pose", "expression", "lighting"):
            factors[key] = value
        else:
            changes[key] = value
        if key == "pairs":
            changes |= {
                "conditions": {"frontal": {}, "profile": {"pose": {"yaw": 40}}},
                "identities": {"count": 12000},
                "images_per_identity": {"frontal": 1, "profile": 1},
            }
        if key == "design":
            continue
        load_spec(tiny(factors=factors, **changes))


def test_every_command_shown_exists() -> None:
    shown = set(re.findall(r"^synthface (\w+)", README, re.MULTILINE))
    assert {"render", "verify", "plan"} <= shown <= set(cli.commands)


def test_pictures_and_files_named_are_there() -> None:
    for name in re.findall(r"\]\((\.github/[^)]+)\)", README):
        assert (ROOT / name).is_file()
    assert len(list((ROOT / "specs").glob("*.yaml"))) == 11
