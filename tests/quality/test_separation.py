"""Sets that are apart: the blocked search does what a slow loop does, and scales as its products do."""

from __future__ import annotations

import numpy as np
import pytest

from synthface.quality import separation
from synthface.quality.separation import Apart, unit


def cloud(num: int, num_dimensions: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(num, num_dimensions)), np.zeros(num_dimensions))


def one_by_one(vectors: np.ndarray, min_distance: float) -> list[int]:
    """The slow twin: float64, one pair at a time."""
    taken: list[int] = []
    for number, vector in enumerate(vectors.astype(np.float64)):
        if all(1.0 - vector @ vectors[other].astype(np.float64) >= min_distance for other in taken):
            taken.append(number)
    return taken


@pytest.mark.parametrize("min_distance", [0.0, 0.05, 0.4, 1.0, 1.9])
def test_it_takes_whom_a_slow_loop_takes(min_distance: float) -> None:
    vectors = cloud(700, 4)
    assert list(Apart(min_distance, 4).take(vectors)) == one_by_one(vectors, min_distance)


def test_the_size_of_blocks_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, found = cloud(500, 3), []
    for block in (1, 7, 256, 1000):
        monkeypatch.setattr(separation, "BLOCK", block)
        apart = Apart(0.1, 3)
        found.append((list(apart.take(vectors)), apart.nearest_distance().tolist()))
    assert all(one == found[0] for one in found)


def test_candidates_in_parts_are_taken_as_in_one() -> None:
    vectors = cloud(400, 4)
    whole, parts = Apart(0.2, 4), Apart(0.2, 4)
    taken = list(whole.take(vectors))
    both = [*parts.take(vectors[:150]), *(150 + number for number in parts.take(vectors[150:]))]
    assert both == taken
    np.testing.assert_array_equal(parts.nearest_distance(), whole.nearest_distance())


def test_nearest_distances_are_those_of_all_pairs() -> None:
    apart = Apart(0.1, 4)
    list(apart.take(cloud(900, 4)))
    cosines = apart.vectors.astype(np.float64) @ apart.vectors.T.astype(np.float64)
    np.fill_diagonal(cosines, -2)
    np.testing.assert_allclose(apart.nearest_distance(), 1 - cosines.max(axis=1), atol=1e-6)
    assert apart.nearest_distance().min() >= 0.1 - 1e-7


def test_exactly_far_enough_is_far_enough() -> None:
    right_angle = np.array([[1, 0], [0, 1]], np.float32)
    assert list(Apart(1.0, 2).take(right_angle)) == [0, 1]
    assert list(Apart(1.0 + 1e-6, 2).take(right_angle)) == [0]


def test_within_rounding_of_the_limit_float64_decides() -> None:
    """A thousand candidates within 1e-6 of the limit: float32 alone gets many of them wrong."""
    first = np.zeros((1, 128), np.float32)
    first[0, 0] = 1.0
    rng = np.random.default_rng(1)
    rest = rng.normal(size=(1000, 127))
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    cosine = 0.6 + rng.uniform(-1e-7, 1e-7, 1000)
    vectors = np.concatenate([cosine[:, None], rest * np.sqrt(1 - cosine**2)[:, None]], axis=1).astype(np.float32)
    for vector in vectors:
        right = bool(1.0 - float((first[0].astype(np.float64) * vector).sum()) >= 0.4)
        apart = Apart(0.4, 128)
        assert (len(list(apart.take(np.concatenate([first, vector[None]])))) == 2) == right


def test_what_is_declined_is_in_nobodys_way() -> None:
    vectors = cloud(300, 3)
    apart = Apart(0.3, 3)
    taken = list(apart.take(vectors, lambda number: number % 2 == 1))
    assert taken == [2 * number + 1 for number in one_by_one(vectors[1::2], 0.3)]


def test_one_alone_is_far_from_everybody() -> None:
    apart = Apart(0.5, 3)
    assert apart.nearest_distance().tolist() == []
    list(apart.take(cloud(1, 3)))
    assert apart.nearest_distance().tolist() == [2.0]


def test_centring_takes_off_what_all_share() -> None:
    shared = np.array([9.0, 0, 0])
    vectors = unit(shared + np.array([[0, 1.0, 0], [0, 0, 1.0]]), shared)
    np.testing.assert_allclose(vectors, [[0, 1, 0], [0, 0, 1]], atol=1e-6)
    assert unit(shared[None], shared).tolist() == [[0, 0, 0]]
