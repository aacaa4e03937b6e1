"""A small world of renderings, made once for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.gan.toy import ToyRecipe, build_world
from training.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder that `recipes/tiny.yaml` describes."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("world")
    build_world(folder, load_recipe(RECIPES / "tiny.yaml", "toy", ToyRecipe))
    return folder
