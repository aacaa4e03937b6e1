"""Distances between sets of features, on sets small enough to work out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.evaluate import distances
from training.evaluate.networks import Named, perceptual_distance
from training.evaluate.quality import compare
from training.evaluate.recipe import QualitySizes


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_squared_mmd_of_two_pairs_is_the_one_worked_out() -> None:
    """k(0,1) = 1, k(2,3) = 7³, k(0,·) = 1, k(1,2) = 27, k(1,3) = 64: 1 + 343 − 2 · 93/4."""
    assert distances.squared_mmd(column(0, 1), column(2, 3)) == pytest.approx(1 + 343 - 46.5)


def test_squared_mmd_is_unbiased() -> None:
    """Two samples of one distribution: zero on average, though each biased estimate would be positive."""
    rng = torch.Generator().manual_seed(0)
    values = [distances.squared_mmd(*torch.randn(2, 20, 3, generator=rng, dtype=torch.float64)) for _ in range(400)]
    mean, error = torch.tensor(values).mean(), torch.tensor(values).std() / 20
    assert abs(float(mean)) < 3 * float(error)


def test_kernel_distance_over_whole_sets_is_the_squared_mmd() -> None:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 12, 3, generator=rng)
    second = second + 1
    mean, std = distances.kernel_distance(first, second, num_subsets=3, subset=50, rng=rng)
    assert mean == pytest.approx(distances.squared_mmd(first.double(), second.double()))
    assert std == pytest.approx(0.0, abs=1e-9)


def test_precision_and_recall_of_points_on_a_line() -> None:
    """Photos 0, 1, 2, 3 reach 1 each: of the fakes 2.6 and 2.9 lie among them. Fakes reach .3, .3, .5, .5: only 3 does."""
    precision, recall = distances.precision_recall(column(0, 1, 2, 3), column(2.6, 2.9, 9, 9.5), neighbours=1)
    assert (precision, recall) == (0.5, 0.25)


def test_the_second_neighbour_reaches_farther() -> None:
    """Photos 0, 1, 2, 3 reach 2, 1, 1, 2 to their second neighbours: 4.5 is within 2 of 3, and −2.5 of nothing."""
    precision, _ = distances.precision_recall(column(0, 1, 2, 3), column(4.5, -2.5), neighbours=2)
    assert precision == 0.5


def test_a_row_is_not_its_own_neighbour_but_its_double_is() -> None:
    assert distances.kth_distance(column(0, 0, 5), 1).tolist() == [0.0, 0.0, 5.0]


def test_neighbours_are_those_of_the_slow_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the rows come in several chunks."""
    monkeypatch.setattr(distances, "_CHUNK", 7)
    rows = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = [sorted(float((a - b).norm()) for n, b in enumerate(rows) if n != k)[2] for k, a in enumerate(rows)]
    assert distances.kth_distance(rows, 3).tolist() == pytest.approx(slow)


def test_perfect_fakes_have_full_precision_and_recall_and_no_distance() -> None:
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    named = Named("toy", "features", None)
    found = compare(rows, rows, named, QualitySizes(40, 2, 40, 40), rng=torch.Generator().manual_seed(0))
    assert found["precision"] == found["recall"] == 1.0
    assert found["fd[toy]"] == pytest.approx(0.0, abs=1e-6)
    assert found["photos"]["num"] == 20


def test_only_tf_inception_gives_what_is_called_fid() -> None:
    rows = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0))
    sizes, rng = QualitySizes(30, 2, 30, 30), torch.Generator()
    inception = compare(*rows, Named("inception", "inception", None), sizes, rng=rng)
    features = compare(*rows, Named("other", "features", None), sizes, rng=rng)
    assert {"FID", "KID"} <= set(inception)
    assert {"fd[other]", "kid[other]"} <= set(features)
    assert not {"FID", "KID"} & set(features)


def test_perceptual_distance_compares_directions_of_feature_vectors() -> None:
    """One map of two places: orthogonal unit vectors are 2 apart in squares, parallel ones 0 whatever their length."""
    first = torch.tensor([[[[3.0, 1.0]], [[0.0, 1.0]]]])  # vectors (3, 0) and (1, 1)
    second = torch.tensor([[[[0.0, 4.0]], [[5.0, 4.0]]]])  # vectors (0, 5) and (4, 4)
    assert perceptual_distance(lambda images: [images], first, second).tolist() == pytest.approx([1.0])
    assert perceptual_distance(lambda images: [images, images], first, second).tolist() == pytest.approx([2.0])


def test_without_features_it_is_the_mean_square_of_pixels() -> None:
    first, second = torch.zeros(2, 3, 2, 2), torch.full((2, 3, 2, 2), 0.5)
    assert perceptual_distance(None, first, second).tolist() == [0.25, 0.25]
