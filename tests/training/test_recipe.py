"""Recipes: strict, all problems at once, and the same again after saving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from synthface.errors import SpecError
from training.recipe import load_recipe, parse, read_sections, save_resolved


@dataclass(frozen=True)
class Inner:
    size: int
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    rate: float
    inner: Inner
    rates: Mapping[int, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    stages: tuple[Inner, ...] = ()
    limit: int | None = None


def test_a_recipe_is_read_into_its_types(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "gan:\n  rate: 2\n  inner: {size: 3}\n  rates: {128: 1e-3}\n  stages: [{size: 1, kind: b}]\nother: 1\n"
    )
    outer = load_recipe(path, "gan", Outer)
    assert outer == Outer(2.0, Inner(3), {128: 0.001}, (), (Inner(1, "b"),))
    assert isinstance(outer.rate, float)


def test_saved_recipes_load_to_the_same(tmp_path: Path) -> None:
    outer = Outer(0.1, Inner(3, "b"), {8: 1.0}, ("x",), (Inner(1),), 5)
    save_resolved(tmp_path / "r.json", "gan", outer)
    assert load_recipe(tmp_path / "r.json", "gan", Outer) == outer


def test_every_problem_is_reported_with_its_place() -> None:
    data = {"rate": "fast", "inner": {"kind": "c", "sise": 3}, "names": [1], "limit": True}
    with pytest.raises(SpecError) as caught:
        parse(Outer, data, file="r.yaml", place="gan")
    text = str(caught.value)
    for place in ("gan.rate", "gan.inner.kind", "gan.inner.sise", "gan.inner.size", "gan.names[0]", "gan.limit"):
        assert place in text
    assert "did you mean size?" in text


def test_missing_files_and_sections_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="can't be read"):
        load_recipe(tmp_path / "none.yaml", "gan", Outer)
    (tmp_path / "r.yaml").write_text("vae: {}\n")
    with pytest.raises(SpecError, match="no such section; found vae"):
        load_recipe(tmp_path / "r.yaml", "gan", Outer)


def test_a_recipe_that_extends_another_changes_only_what_it_says(tmp_path: Path) -> None:
    """Mappings are merged, lists replaced; the path is from the recipe's own folder."""
    (tmp_path / "base.yaml").write_text("gan: {rate: 1, inner: {size: 3, kind: b}, names: [x, y], limit: 7}\nvae: 1\n")
    (tmp_path / "small").mkdir()
    path = tmp_path / "small" / "r.yaml"
    path.write_text("extends: ../base.yaml\ngan: {inner: {size: 4}, names: [z], limit: null}\n")
    assert load_recipe(path, "gan", Outer) == Outer(1.0, Inner(4, "b"), names=("z",), limit=None)
    assert read_sections(path)["vae"] == 1


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(SpecError, match="extends itself"):
        read_sections(tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("extends: none.yaml\n")
    with pytest.raises(SpecError, match=r"none\.yaml.*can't be read"):
        read_sections(tmp_path / "c.yaml")
