"""Landmark and pose targets are the renderer's truth, in every changed picture too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import synthface
from recipes.common.pictures import NO_CHANGE, AugmentSettings, random_warp
from recipes.landmarks.measure import figures, measure
from recipes.landmarks.network import load_network
from recipes.landmarks.targets import PrepareLandmarks, turned_pose
from recipes.landmarks.training import LandmarkSettings, train_landmarks, wing_loss
from synthface.errors import DatasetError
from synthface.factors.mirror import mirror_landmarks68
from synthface.factors.pose import pose_of, rotation_matrix
from tests.specs_for_tests import tiny
from training.gan.world import World
from training.recipe import load_recipe

TINY = Path(__file__).parents[2] / "recipes" / "landmarks" / "tiny.yaml"
ALONE = World(0, 1, torch.device("cpu"))


def samples(faces: Path) -> list[dict[str, Any]]:
    return sorted(synthface.open_dataset(faces, "test", shuffle=False), key=lambda s: s["key"])


def test_targets_are_what_the_renderer_projects(faces: Path) -> None:
    """The morphable model is posed anew from the λ in the labels; its landmarks are the targets."""
    from synthface.factors.types import FactorBatch
    from synthface.generators import load_generator
    from synthface.morphable.scene import Scene

    generator: Any = load_generator("3dmm")
    prepare = PrepareLandmarks(32, NO_CHANGE)
    found = samples(faces)[:4]
    batch = FactorBatch.neutral(generator.layout, len(found))
    for n, sample in enumerate(found):
        labels = sample["labels"]
        batch.shape[n] = labels["shape"]
        batch.expression[n] = [labels[f"expression_{name}"] for name in generator.layout.expression_names]
        batch.pose_rad[n] = np.radians([labels["pitch_deg"], labels["yaw_deg"], labels["roll_deg"]])
    truth = Scene(generator.model, batch, 32).landmarks68_px / 32
    for n, sample in enumerate(found):
        _, points, pose, _ = prepare(sample, np.random.default_rng(0))
        assert points == pytest.approx(truth[n], abs=2e-3)
        assert pose == pytest.approx(batch.pose_rad[n], abs=1e-5)


def test_a_mirror_image_has_mirrored_targets(faces: Path) -> None:
    plain, flipped = PrepareLandmarks(32, NO_CHANGE), PrepareLandmarks(32, replace(NO_CHANGE, flip=1))
    for sample in samples(faces)[:4]:
        _, points, pose, visible = plain(sample, np.random.default_rng(0))
        picture, mirrored, turned, seen = flipped(sample, np.random.default_rng(0))
        assert np.array_equal(picture.transpose(1, 2, 0), sample["image"][:, ::-1])
        assert mirrored == pytest.approx(mirror_landmarks68(points), abs=1e-5)
        assert turned == pytest.approx(pose * [1, -1, -1], abs=1e-6)
        assert mirrored[36, 0] < mirrored[45, 0], "the eye on the image's left stays the first"
        assert seen.sum() == visible.sum()


@pytest.mark.parametrize("seed", range(6))
def test_the_pose_turns_with_the_picture(seed: int) -> None:
    """The head's axes, projected, go through the picture's matrix; the pose read off them is the target's."""
    settings = AugmentSettings(flip=0.5, crop=1, roll_deg=40, shift=0)
    matrix, mirrored = random_warp(64, 64, settings, np.random.default_rng(seed))
    pose = np.array([0.2, -0.5, 0.3])
    linear = matrix[:, :2] / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    in_world = np.diag([1.0, -1.0]) @ linear @ np.diag([1.0, -1.0])  # the image's y points down, the world's up
    turn = np.eye(3)
    turn[:2, :2] = in_world
    head = np.diag([-1.0, 1.0, 1.0]) if mirrored else np.eye(3)  # a mirrored head is a head again
    assert turned_pose(pose, matrix, mirrored) == pytest.approx(pose_of(turn @ rotation_matrix(pose) @ head), abs=1e-9)


def test_figures_are_zero_for_the_truth_and_count_errors_in_box_diagonals() -> None:
    rng = np.random.default_rng(0)
    true, visible = rng.random((5, 68, 2)), rng.random((5, 68)) < 0.8
    pose = np.array([[0.0, yaw, 0.0] for yaw in (0, 10, 20, -50, 70)])
    exact = figures(true, true, visible, pose, pose)
    assert exact["nme_box"] == exact["nme_hidden"] == exact["failures"] == exact["pose_deg"]["yaw"] == 0
    assert [entry["pictures"] for entry in exact["by_yaw"].values()] == [2, 1, 0, 1, 1]
    diagonal = np.linalg.norm(true.max(1) - true.min(1), axis=1)
    off = figures(true + 0.1 * diagonal[:, None, None] * [0.6, 0.8], true, visible, pose + np.array([1, -2, 3]), pose)
    assert off["nme_box"] == pytest.approx(0.1)
    assert off["failures"] == 1
    assert off["pose_deg"] == pytest.approx({"pitch": 1, "yaw": 2, "roll": 3})


def test_the_wing_loss_is_continuous_and_steeper_near_zero() -> None:
    at = torch.tensor([0.09 - 1e-6, 0.09 + 1e-6], dtype=torch.float64)
    near, far = (wing_loss(x, 0.09, 0.018) for x in at)
    assert float(far - near) == pytest.approx(0, abs=1e-5)
    assert float(wing_loss(torch.tensor(0.0), 0.09, 0.018)) == 0
    x = torch.tensor([0.001, 0.5], requires_grad=True)
    wing_loss(x, 0.09, 0.018).backward()
    assert x.grad is not None
    assert x.grad[0] > 3 * x.grad[1]


def test_a_few_steps_bring_the_points_nearer(faces: Path, tmp_path: Path) -> None:
    settings = load_recipe(TINY, "landmarks", LandmarkSettings)
    loop = replace(settings.loop, batch=12, schedule=replace(settings.loop.schedule, epochs=12, warmup=0.0))
    settings = replace(settings, augment=NO_CHANGE, loop=loop)
    network = train_landmarks(settings, faces, tmp_path, world=ALONE, report=lambda line: None)
    assert network is not None
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["point_error"] < 0.7 * log[0]["point_error"]
    loaded = load_network(tmp_path / "network")
    assert measure(loaded, faces) == measure(network, faces)


def test_datasets_that_cant_teach_it_are_refused(tmp_path: Path) -> None:
    """The pose of a picture that was turned upright isn't the label's."""
    settings = load_recipe(TINY, "landmarks", LandmarkSettings)
    dataset = tmp_path / "data"
    output = {"image": {"size": 32, "crop": "arcface"}, "annotations": ["landmarks"], "shards": {"samples": 4}}
    synthface.render(tiny(identities={"count": 2}, images_per_identity=1, splits={"train": 1}, output=output), dataset)
    with pytest.raises(DatasetError, match="render it with `crop: full`, or set pose_weight to 0"):
        train_landmarks(settings, dataset, tmp_path / "run", world=ALONE)
