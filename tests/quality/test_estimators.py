"""A network is asked about the actions that it reads, by its own card, and about no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from synthface.networks.backbones import BackboneConfig, fold
from synthface.networks.reconstruction import (
    Reconstruction,
    ReconstructionConfig,
    new_reconstruction,
    save_reconstruction,
)
from synthface.quality.estimators import load_estimator, read_pictures, shared_actions
from tests.toy import sphere_basis

BASIS = sphere_basis()
NAMES = BASIS.expression_names


def network(card: dict[str, object]) -> Reconstruction:
    """Reads every action as 0.5 or so."""
    settings = BackboneConfig(size_px=32, stem=4, widths=(4, 4), blocks=(0, 0), last=4, grid=2, features=4)
    config = ReconstructionConfig(
        "small", "plain", settings.to_dict(), BASIS.num_shape, BASIS.num_albedo, NAMES, BASIS.name, BASIS.digest, card
    )
    torch.manual_seed(0)
    made = new_reconstruction(config, BASIS)
    fold(made.eval())
    return made


def written(folder: Path, card: dict[str, object]) -> str:
    save_reconstruction(folder, network(card))
    return str(folder)


def test_actions_that_a_network_guesses_at_are_left_out(tmp_path: Path) -> None:
    measured = {"expression_r2": {NAMES[0]: 0.8, NAMES[1]: 0.49, NAMES[2]: -0.1}}
    estimator = load_estimator(written(tmp_path / "network", {"measured": measured}))
    assert shared_actions(estimator, NAMES).tolist() == [True, False, False]
    pictures = np.full((2, 32, 32, 3), 90, np.uint8)
    read = read_pictures(pictures, estimator, NAMES)
    assert (read.expression[:, 0] > 0).all()
    assert (read.expression[:, 1:] == 0).all()


def test_a_network_that_wasnt_measured_is_asked_about_all(tmp_path: Path) -> None:
    estimator = load_estimator(written(tmp_path / "network", {}))
    assert shared_actions(estimator, NAMES).all()
    other = tuple(reversed(NAMES))
    pictures = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    there, back = (read_pictures(pictures, estimator, names).expression for names in (NAMES, other))
    assert np.array_equal(there, back[:, ::-1])


def test_what_a_network_is_called_changes_nothing(tmp_path: Path) -> None:
    """The digest is of weights alone: a card may be written anew."""
    first = load_estimator(written(tmp_path / "a", {"source": "here"}))
    second = load_estimator(written(tmp_path / "b", {"source": "there"}))
    assert first.digest() == second.digest()
    moved = network({})
    moved.config = replace(moved.config, name="other")
    with torch.no_grad():
        moved.head.bias.add_(1.0)
    save_reconstruction(tmp_path / "c", moved)
    assert load_estimator(str(tmp_path / "c")).digest() != first.digest()
