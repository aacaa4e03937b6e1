"""Augmentation keeps its promises, and points go where the picture's content goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recipes.common.pictures import NO_CHANGE, AugmentSettings, augment, degrade, moved, random_warp, warp

EVERYTHING = AugmentSettings(flip=1, crop=1, colour=1, grey=1, low_resolution=1, blur=1, jpeg=1, roll_deg=20)


def picture(size: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)


def test_without_changes_a_picture_stays_as_it_is() -> None:
    image = picture()
    made, matrix, mirrored = augment(image, 40, NO_CHANGE, np.random.default_rng(0))
    assert np.array_equal(made, image)
    assert np.array_equal(matrix, np.eye(2, 3))
    assert not mirrored


def test_a_smaller_network_sees_averages() -> None:
    image = picture()
    made, _, _ = augment(image, 20, NO_CHANGE, np.random.default_rng(0))
    means = image.reshape(20, 2, 20, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(made - means).max() <= 1  # pillow rounds rows and columns, one after the other


def test_a_mirror_image_is_one() -> None:
    image = picture()
    made, _, mirrored = augment(image, 40, replace(NO_CHANGE, flip=1), np.random.default_rng(0))
    assert mirrored
    assert np.array_equal(made, image[:, ::-1])


@pytest.mark.parametrize("to_px", [32, 48, 96])
@pytest.mark.parametrize("seed", range(4))
def test_points_follow_the_picture(to_px: int, seed: int) -> None:
    """A bright blob's centre of mass lies where its point is moved to."""
    settings = AugmentSettings(flip=0.5, crop=1, roll_deg=25, shift=0.08)
    point = np.array([[56.0, 38.0]])
    y, x = np.mgrid[:96, :96] + 0.5
    blob = np.exp(-((x - point[0, 0]) ** 2 + (y - point[0, 1]) ** 2) / (2 * 6**2))
    image = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, axis=2)
    matrix, _ = random_warp(96, to_px, settings, np.random.default_rng(seed))
    made = warp(image, matrix, to_px)[..., 0].astype(float)
    y, x = np.mgrid[:to_px, :to_px] + 0.5
    centre = [(made * x).sum() / made.sum(), (made * y).sum() / made.sum()]
    assert moved(point, matrix)[0] == pytest.approx(centre, abs=0.5)


def test_the_same_randomness_makes_the_same_picture_and_other_another() -> None:
    image = picture()
    one, two, other = (augment(image, 40, EVERYTHING, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert one.shape == (40, 40, 3)
    assert one.dtype == np.uint8


@pytest.mark.parametrize("change", ["colour", "grey", "low_resolution", "blur", "jpeg"])
def test_each_degradation_happens_only_when_asked_for(change: str) -> None:
    image = picture()
    made = degrade(image, replace(NO_CHANGE, blur_px=9, **{change: 1.0}), np.random.default_rng(0))
    assert not np.array_equal(made, image)
    if change == "grey":
        assert (made == made[..., :1]).all()
    if change in ("low_resolution", "blur"):
        assert made.astype(float).std() < image.astype(float).std()
