"""Capacity on worlds whose answer is known: separate places, and parking on a circle."""

from __future__ import annotations

import numpy as np
import pytest

from synthface.quality.capacity import Capacity, estimate, measure, outcomes


def fit(vectors: np.ndarray, min_distance: float, max_tries: int = 20) -> Capacity:
    return estimate(*outcomes(vectors.astype(np.float32), min_distance), min_distance=min_distance, max_tries=max_tries)


def places(num: int, tries: int, seed: int) -> np.ndarray:
    """Draws among `num` separate places, each as likely: vectors at right angles."""
    return np.eye(num)[np.random.default_rng(seed).integers(0, num, tries)]


@pytest.mark.parametrize("seed", range(4))
def test_separate_places_are_counted(seed: int) -> None:
    """300 draws fill 63 % of 300 places; each may be reached, as 1 − x = exp(−20 x) leaves none."""
    found = fit(places(300, 300, seed), 0.5)
    assert found.most_low < 330
    assert found.most_high is None or found.most_high > 300
    assert found.most is not None
    assert found.reachable_low < 330
    assert found.reachable_high is not None
    assert found.reachable_high > 250


def test_most_and_shape_are_right_when_nearly_all_is_filled() -> None:
    found = fit(places(200, 900, 0), 0.5)
    assert found.most == pytest.approx(200, rel=0.03)
    assert found.shape == pytest.approx(1.0, abs=0.15)
    assert found.reachable == pytest.approx(200, rel=0.03)


def test_parking_on_a_circle_ends_at_renyi_s_constant() -> None:
    """Points of a circle at least θ apart: 0.7476 · 2π / θ of them, Rényi 1958; one dimension, so k ends at 2."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 3000)
    theta = 2 * np.pi / 400
    found = fit(np.stack([np.cos(angle), np.sin(angle)], axis=1), 1 - np.cos(theta))
    right = 0.7476 * 400
    assert found.taken < 0.95 * right
    assert found.most == pytest.approx(right, rel=0.05)
    assert 1.2 < found.shape < 2.5


def test_reachable_is_what_trying_on_gives() -> None:
    """What 600 draws foretell, 10 draws per identity then find."""
    rng = np.random.default_rng(2)
    ball = rng.normal(size=(6000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    found = fit(ball[:600], 0.02, max_tries=10)
    before, taken = outcomes(ball.astype(np.float32), 0.02)
    tries_each = np.arange(1, len(taken) + 1) / np.maximum(before + taken, 1)
    reached = int((before + taken)[np.flatnonzero(tries_each <= 10)[-1]])
    assert found.reachable_high is None or found.reachable_low <= reached <= found.reachable_high
    assert found.reachable == pytest.approx(reached, rel=0.25)


def test_without_a_refusal_there_is_only_a_lower_bound() -> None:
    found = fit(np.eye(128)[:100], 0.5)
    assert (found.reachable, found.reachable_high, found.most, found.most_high) == (None, None, None, None)
    assert found.reachable_low > 1000


def test_a_generator_is_measured_by_its_own_draws() -> None:
    from synthface.job import prepare
    from tests.specs_for_tests import tiny

    job = prepare(tiny(identities={"count": 4, "min_distance": 0.6}))
    (own,) = measure(job, tries=24)
    near, far = measure(job, distances=[0.4, 0.8], tries=24)
    assert own.min_distance == 0.6
    assert near.compared == far.compared == 24
    assert near.taken >= own.taken >= far.taken >= 2
