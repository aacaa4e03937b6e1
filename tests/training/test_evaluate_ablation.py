"""The ablation's recipes differ in the losses that their names say, and in nothing else."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from training.gan.recipe import GanRecipe
from training.recipe import load_recipe

FOLDER = Path(__file__).parents[2] / "recipes" / "ablation"
#: Recipe to whether it has a warm start, imitative, contrastive losses.
PARTS = {
    "adversarial": (False, False, False),
    "warm-start": (True, False, False),
    "contrastive": (True, False, True),
    "imitative": (True, True, False),
    "imitative-contrastive": (True, True, True),
}


def load(name: str) -> GanRecipe:
    return load_recipe(FOLDER / f"{name}.yaml", "gan", GanRecipe)


def test_these_are_all_there_are() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(PARTS)


@pytest.mark.parametrize("name", PARTS)
def test_a_recipe_has_the_losses_of_its_name(name: str) -> None:
    recipe = load(name)
    imitative = ("identity", "landmarks", "lighting", "colour")
    weighted = [all(getattr(s.imitative, loss) > 0 for loss in imitative) for s in recipe.stages]
    nothing = [not any(getattr(s.imitative, loss) for loss in imitative) for s in recipe.stages]
    assert all(w or n for w, n in zip(weighted, nothing, strict=True))
    has_warm_start = recipe.stages[0].reconstruction is not None and recipe.stages[0].adversarial == 0
    assert (has_warm_start, any(weighted), any(s.is_contrastive for s in recipe.stages)) == PARTS[name]
    assert recipe.stages[-1].adversarial > 0


def test_all_see_as_many_pictures_and_share_network_and_warm_start() -> None:
    recipes = {name: load(name) for name in PARTS}
    assert {recipe.stages[-1].until_images for recipe in recipes.values()} == {72_000}
    assert len({r.stages[0] for name, r in recipes.items() if PARTS[name][0]}) == 1
    for recipe in recipes.values():
        for part in dataclasses.fields(GanRecipe):
            if part.name not in ("stages", "frozen"):
                assert getattr(recipe, part.name) == getattr(recipes["adversarial"], part.name)


@pytest.mark.parametrize("name", PARTS)
def test_its_header_has_its_commands(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert f"python -m training gan recipes/ablation/{name}.yaml --data DATA --out RUN-{name}" in text
    assert re.search(rf"evaluate BUNDLE-{name} --real PREPARED --lambda LAMBDA.parquet", text)
