"""Recipes: strict, all problems at once, and the same again after saving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from synthface.errors import SpecError
from training.recipe import load_recipe, parse, save_resolved


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
