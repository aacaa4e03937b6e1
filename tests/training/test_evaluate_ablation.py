"""The ablation's recipes differ in the losses that their names say, and in nothing else."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from training.gan.recipe import GanRecipe
from training.recipe import load_recipe

FOLDER = Path(__file__).parents[2] / "recipes" / "ablation"
EVERYTHING = "../portraits-64"
#: Recipe to whether it has a warm start, imitative, contrastive losses.
PARTS = {
    "adversarial": (False, False, False),
    "warm-start": (True, False, False),
    "contrastive": (True, False, True),
    "imitative": (True, True, False),
}


def load(name: str) -> GanRecipe:
    return load_recipe(FOLDER / f"{name}.yaml", "gan", GanRecipe)


def test_these_are_all_there_are() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(PARTS)


@pytest.mark.parametrize(("name", "parts"), [*PARTS.items(), (EVERYTHING, (True, True, True))])
def test_a_recipe_has_the_losses_of_its_name(name: str, parts: tuple[bool, bool, bool]) -> None:
    stages = load(name).stages
    has_warm_start = stages[0].reconstruction is not None and stages[0].adversarial == 0
    found = (has_warm_start, any(s.imitative.is_on for s in stages), any(s.is_contrastive for s in stages))
    assert found == parts
    assert stages[-1].adversarial > 0


def test_losses_that_two_recipes_share_weigh_the_same_in_both() -> None:
    """The imitative ones, and the contrastive ones of the last stage."""
    everything = load(EVERYTHING).stages
    assert load("imitative").stages[-1].imitative == everything[-2].imitative
    assert load("contrastive").stages[-1].contrastive == everything[-1].contrastive


def test_all_see_as_many_pictures_and_share_network_and_warm_start() -> None:
    everything = load(EVERYTHING)
    for name, (has_warm_start, _, _) in PARTS.items():
        recipe = load(name)
        assert recipe.stages[-1].until_images == everything.stages[-1].until_images
        if has_warm_start:
            assert recipe.stages[0].reconstruction == everything.stages[0].reconstruction
        for part in dataclasses.fields(GanRecipe):
            if part.name not in ("stages", "frozen"):
                assert getattr(recipe, part.name) == getattr(everything, part.name)


@pytest.mark.parametrize("name", PARTS)
def test_its_header_has_its_commands(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert f"python -m training gan recipes/ablation/{name}.yaml --data DATA --out RUN-{name}" in text
    assert re.search(rf"evaluate BUNDLE-{name} --real PREPARED --lambda LAMBDA.parquet", text)
