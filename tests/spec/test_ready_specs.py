"""The specs that ship are real: they load, fit the 3dmm generator, and say how to run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synthface.morphable.basis import MorphableBasis
from synthface.spec import check_against_layout, load_spec, resolve, schema_json
from synthface.spec.model import LeftOut

SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.yaml"))


@pytest.fixture(scope="module")
def layout():
    return MorphableBasis.load().layout()


def test_there_are_at_least_eight():
    assert len(SPECS) >= 8


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_ready_spec_renders_with_3dmm(path, layout):
    """Nothing it asks for is missing there, nothing warns, and the resolved spec is complete and loads again."""
    spec = load_spec(path)
    report = check_against_layout(spec, layout)
    assert not report.problems, report.problems
    assert not report.warnings, report.warnings
    resolved = resolve(spec, layout)
    for stratum in resolved.strata:
        assert not any(isinstance(value, LeftOut) for value in vars(stratum.factors).values())
    assert load_spec(resolved.to_yaml()) == resolved
    assert load_spec(resolved.to_yaml()).digest == resolved.digest


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_ready_spec_says_what_it_is_for(path):
    """Its header helps the editor, explains in a paragraph, and holds the exact command; its name is the file's."""
    lines = path.read_text(encoding="utf-8").splitlines()
    modeline, rest = lines[0], lines[1 : lines.index("version: 1")]
    assert modeline.startswith("# yaml-language-server: $schema=")
    schema_path = path.parent / modeline.partition("=")[2]
    assert json.loads(schema_path.read_text(encoding="utf-8")) == json.loads(schema_json())
    assert sum(len(line) for line in rest) > 150
    assert any(line.startswith(f"#   synthface render specs/{path.name} --out {path.stem}") for line in rest)
    assert load_spec(path).name == path.stem


def test_quickstart_is_small():
    """The first dataset is there within a minute on two cores."""
    spec = load_spec(next(path for path in SPECS if path.stem == "quickstart"))
    assert spec.num_images == 200
    assert spec.output.image.size <= 160


def test_the_biased_pair_differs_in_its_correlation_alone():
    """So that a difference between models trained on the two comes from the correlation."""
    biased, unbiased = (
        next(path for path in SPECS if path.stem == name) for name in ("biased-training", "unbiased-training")
    )
    first, second = load_spec(biased).to_dict(), load_spec(unbiased).to_dict()
    differing = {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}
    assert differing == {"name", "correlate"}
