"""Verification figures agree with their definitions, written out slowly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.recognition import verification as v
from recipes.recognition.bins import Binning, bins
from synthface.errors import DatasetError


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and flags of both kinds."""
    num = draw(st.integers(2, 25))
    scores = np.array(draw(st.lists(st.integers(-5, 5), min_size=num, max_size=num)), float) / 5
    same = np.array(draw(st.lists(st.booleans(), min_size=num, max_size=num)))
    same[0], same[-1] = True, False
    return scores, same


@settings(max_examples=60, deadline=None)
@given(scored())
def test_each_operating_point_is_what_its_threshold_accepts(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores, same = pairs
    curve = v.roc(scores, same)
    assert (curve.far[0], curve.tar[0]) == (0, 0)
    assert (curve.far[-1], curve.tar[-1]) == (1, 1)
    for far, tar, threshold in zip(curve.far, curve.tar, curve.thresholds, strict=True):
        assert tar == pytest.approx((scores[same] >= threshold).mean())
        assert far == pytest.approx((scores[~same] >= threshold).mean())


@settings(max_examples=60, deadline=None)
@given(scored())
def test_the_area_is_the_share_of_couples_in_order(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores, same = pairs
    couples = [(g > i) + 0.5 * (g == i) for g in scores[same] for i in scores[~same]]
    assert v.area(v.roc(scores, same)) == pytest.approx(np.mean(couples))


@settings(max_examples=60, deadline=None)
@given(scored())
def test_no_threshold_is_more_accurate_than_the_best(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    scores, same = pairs
    best = ((scores >= v.best_threshold(scores, same)) == same).mean()
    tried = [((scores >= t) == same).mean() for t in np.linspace(-1.2, 1.2, 97)]
    assert best == pytest.approx(max(tried))


def test_at_the_equal_error_rate_both_errors_are_equal() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.2, 0.1, 0.0])
    same = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    assert v.equal_error_rate(v.roc(scores, same)) == pytest.approx(0.25)
    rng = np.random.default_rng(0)
    same = np.arange(20000) < 10000
    scores = rng.normal(size=20000) + 2 * same
    assert v.equal_error_rate(v.roc(scores, same)) == pytest.approx(0.1587, abs=0.01)  # Φ(−1)


def test_a_far_that_the_pairs_cant_show_is_not_reported() -> None:
    same = np.arange(300) < 100
    found = v.figures(np.where(same, 1.0, 0.0), same, np.arange(300) % 10)
    assert found["tar_at_far"] == {"0.1": 1.0, "0.01": 1.0, "0.001": None, "0.0001": None}
    assert found["accuracy"] == found["auc"] == 1
    assert found["eer"] == 0


def test_a_folds_threshold_is_chosen_on_the_other_folds() -> None:
    """Fold 1's scores lie lower: the threshold that the others give is wrong for it, and the figures must say so."""
    folds = np.repeat(np.arange(4), 20)
    same = np.tile(np.arange(20) < 10, 4)
    scores = np.where(same, 0.8, 0.4) - 0.5 * (folds == 1)
    thresholds = v.fold_thresholds(scores, same, folds)
    assert 0.4 < thresholds[folds == 1][0] <= 0.8
    right = (scores >= thresholds) == same
    assert right[folds == 1].mean() == 0.5
    for fold in range(4):
        others = folds != fold
        assert thresholds[folds == fold] == pytest.approx(v.best_threshold(scores[others], same[others]))


def test_scores_without_meaning_are_refused() -> None:
    with pytest.raises(DatasetError, match="allowed: some of both kinds"):
        v.roc(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(DatasetError, match="1 of 2 scores aren't finite"):
        v.roc(np.array([0.1, np.nan]), np.array([True, False]))


def test_pairs_fall_into_the_bin_of_their_larger_angle_or_of_both_skins() -> None:
    labels = {"yaw_deg": np.array([0.0, -20, 44, 60]), "tone": np.array([5.0, 15, 16, 40])}
    a, b = np.array([0, 0, 2, 1]), np.array([1, 3, 1, 2])
    turned = bins(labels, a, b, Binning("yaw_deg", (0, 10, 30, 60), "larger"))
    assert {name: inside.tolist() for name, inside in turned.items()} == {
        "0…10": [False, False, False, False],
        "10…30": [True, False, False, False],
        "30…60": [False, True, True, True],
    }
    tones = bins(labels, a, b, Binning("tone", (0, 10, 30), "both"))
    assert tones["0…10"].tolist() == [False] * 4
    assert tones["10…30"].tolist() == [False, False, True, True]


def test_bins_are_decided_by_the_common_threshold_and_small_ones_say_nothing() -> None:
    same = np.arange(60) % 2 == 0
    hard = np.arange(60) >= 40
    scores = np.where(same, np.where(hard, 0.3, 0.9), 0.1)
    found = v.by_bin(scores, same, np.full(60, 0.5), {"easy": ~hard, "hard": hard, "few": np.arange(60) < 6})
    assert found["easy"]["accuracy"] == 1
    assert (found["hard"]["tar"], found["hard"]["far"], found["hard"]["accuracy"]) == (0, 0, 0.5)
    assert found["hard"]["auc"] == 1
    assert found["few"]["accuracy"] is None
