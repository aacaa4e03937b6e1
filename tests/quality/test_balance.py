"""Quotas, what stays when a bin is short, and orders that are fair samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synthface.quality.balance import Quotas, balanced_counts, bins_of, spread_order

COUNTS = st.lists(st.integers(0, 25), min_size=1, max_size=6)


def test_bins_are_half_open_but_the_last() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 2.1])
    assert bins_of(values, (0.0, 1.0, 2.0)).tolist() == [-1, 0, 0, 1, 1, -1]


@given(st.lists(st.integers(-1, 3), max_size=60), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_taking_many_at_once_is_taking_one_by_one(bins: list[int], count: int) -> None:
    at_once, one_by_one = Quotas(4, count), Quotas(4, count)
    taken = []
    for number, which in enumerate(bins):
        if one_by_one.wants(which):
            one_by_one.add(which)
            taken.append(number)
    assert at_once.take(np.array(bins, np.int64)).tolist() == taken
    assert at_once.found.tolist() == one_by_one.found.tolist()
    assert at_once.missing == count - len(taken)


def is_equal(kept: np.ndarray, tolerance: float) -> bool:
    total = kept.sum()
    return bool((np.abs(kept - total / len(kept)) <= max(tolerance * total, 1) + 1e-9).all())


@given(COUNTS, st.sampled_from([0.0, 0.02, 0.1, 0.3]))
@settings(max_examples=200, deadline=None)
def test_what_is_kept_is_equal_and_as_much_as_can_be(found: list[int], tolerance: float) -> None:
    there = np.array(found)
    kept = balanced_counts(there, tolerance)
    assert (kept <= there).all()
    assert is_equal(kept, tolerance)
    # No larger number can be split as evenly as it must be.
    for total in range(int(kept.sum()) + 1, int(there.sum()) + 1):
        slack = max(tolerance * total, 1 - 1e-6)
        low, high = np.ceil(total / len(found) - slack - 1e-9), np.floor(total / len(found) + slack + 1e-9)
        assert there.min() < low or np.minimum(there, high).sum() < total


def test_a_bin_that_is_a_little_short_costs_little() -> None:
    assert balanced_counts(np.array([1000, 1000, 1000]), 0.02).tolist() == [1000, 1000, 1000]
    assert balanced_counts(np.array([1000, 1000, 950]), 0.02).sum() == 2950
    assert (
        balanced_counts(np.array([1000, 1000, 300]), 0.02).max()
        <= 0.3534 * balanced_counts(np.array([1000, 1000, 300]), 0.02).sum() + 1
    )


def test_any_run_of_the_order_holds_every_bin_in_equal_measure() -> None:
    bins = np.repeat([0, 1, 2], [40, 20, 20])
    order = spread_order(7, np.arange(80), bins)
    assert sorted(order) == list(range(80))
    for start in range(0, 80, 20):
        assert np.abs(np.bincount(bins[order[start : start + 20]], minlength=3) - [10, 5, 5]).max() <= 1


def test_the_order_forgets_when_somebody_was_taken() -> None:
    order = spread_order(7, np.arange(2000), np.zeros(2000, np.int64))
    assert abs(np.corrcoef(order, np.arange(2000))[0, 1]) < 0.06
    assert not np.array_equal(order, spread_order(8, np.arange(2000), np.zeros(2000, np.int64)))
