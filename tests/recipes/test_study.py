"""The study rehearses in seconds, and what it writes into the README is what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import synthface
from recipes.recognition import study

NAMES = (*study.TRAINED, *study.TESTS)


def test_every_spec_loads_and_the_training_sets_are_of_equal_size() -> None:
    assert {path.stem for path in study.SPECS.glob("*.yaml")} == {*NAMES, "settings"}
    specs = {name: synthface.load_spec(study.spec_of(name)) for name in NAMES}
    trained = [specs[name] for name in study.TRAINED]
    assert {spec.seed for spec in trained} == {701}, "the same people"
    assert {spec.identities.count * sum(spec.images_per_identity.values()) for spec in trained} == {1600}
    assert not {specs[name].seed for name in study.TESTS} & {701}, "nobody who was trained on"


def result(accuracy: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "accuracy_std": 0.01, "eer": 1 - accuracy, "by": {}}


@pytest.fixture
def results() -> dict[str, Any]:
    """Made up; lists out of order, as a dataset gives them."""
    lists = ("yaw_75", "yaw_15", "light_120", "light_0", "light_30", "wide")
    made = {
        name: {pairs: result(0.5 + 0.1 * n + 0.01 * k) for k, pairs in enumerate(lists)}
        for n, name in enumerate(study.TRAINED)
    }
    for name in made:
        made[name]["wide"]["by"] = {"skin_tone_ita_deg": {"-90…-30": {"accuracy": 0.7}, "-30…10": {"accuracy": None}}}
    return made


def test_the_table_is_ordered_and_marks_the_best(results: dict[str, Any]) -> None:
    lines = study.table(results).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "even light against a lamp at 0°",
        "even light against a lamp at 30°",
        "even light against a lamp at 120°",
        "front against 15°",
        "front against 75°",
        "everything at once",
    ]
    assert (
        lines[6] == "| front against 75° | 0.500 ± 0.010 (0.500) | 0.600 ± 0.010 (0.400) | **0.700** ± 0.010 (0.300) |"
    )


def test_the_readme_keeps_what_lies_outside_its_markers(results: dict[str, Any], tmp_path: Path) -> None:
    about = {"generator": "3dmm", "images": 1, "people": 1, "version": "0", "minutes": 2.0}
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{study.BEGIN}\nstale\n{study.END}\nafter\n")
    for _ in range(2):
        study.write_results({"about": about, "results": results}, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "stale" not in text
    assert text.count("everything at once") == 2
    assert "| -30…10 | – | – | – |" in text
    assert (tmp_path / "study-yaw.svg").read_text().startswith("<svg xmlns")
    assert study.README.read_text().count(study.BEGIN) == study.README.read_text().count(study.END) == 1


@pytest.mark.slow
def test_the_study_rehearses(tmp_path: Path) -> None:
    """Six datasets, three networks, every pair list; and a second run finds everything done."""
    readme = tmp_path / "README.md"
    readme.write_text(f"{study.BEGIN}{study.END}")
    table = study.run(tmp_path / "out", tiny=True, workers=1, device="cpu", readme=readme, report=lambda line: None)
    assert len(table.splitlines()) == 2 + 11
    assert table in readme.read_text()
    found = json.loads((tmp_path / "out" / "study.json").read_text())
    assert set(found["results"]) == set(study.TRAINED)
    assert found["about"]["generator"] == "3dmm"
    assert found["about"]["images"] == 24
    again = study.run(tmp_path / "out", tiny=True, workers=1, device="cpu", readme=readme, report=lambda line: None)
    assert again == table
