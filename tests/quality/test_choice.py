"""Who is chosen: by number alone, apart and balanced, and no promise bent when draws run out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from synthface.errors import IdentityError
from synthface.identities import attribute_of, identity_factors
from synthface.job import Job, prepare
from synthface.quality.balance import bins_of
from synthface.quality.choice import choose, shortfall
from synthface.quality.separation import unit
from tests.quality.descriptors import Given, centre, descriptors
from tests.quality.test_separation import one_by_one
from tests.specs_for_tests import tiny

EDGES = [-10, 20, 30, 60]
BALANCE = {"by": "skin_tone_ita_deg", "edges": EDGES, "max_tries": 50}


def job(count: int, **identities: Any) -> Job:
    return prepare(tiny(identities={"count": count, **identities}))


def test_who_is_apart_is_who_a_slow_loop_takes() -> None:
    chosen = choose(job(60, min_distance=0.1), parts=Given(4))
    vectors = unit(descriptors(np.arange(200), 4), centre())
    assert sorted(chosen.persons.tolist()) == one_by_one(vectors, 0.1)[:60]
    assert chosen.descriptors is not None
    cosines = chosen.descriptors @ chosen.descriptors.T - 2 * np.eye(60)
    np.testing.assert_allclose(chosen.nearest_distance, 1 - cosines.max(axis=1), atol=1e-5)
    assert cosines.max() <= 0.9 + 1e-6


def test_a_larger_dataset_holds_the_people_of_a_smaller_one() -> None:
    few, many = (choose(job(count, min_distance=0.1), parts=Given()).persons for count in (20, 50))
    assert set(few.tolist()) < set(many.tolist())


def test_every_split_is_balanced() -> None:
    spec = job(60, balance=BALANCE)
    chosen = choose(spec)
    values = attribute_of(spec.spec, spec.info.layout, "skin_tone_ita_deg", chosen.persons)
    bins = bins_of(values, tuple(map(float, EDGES)))
    for start, stop in ((0, 45), (45, 60)):
        assert np.ptp(np.bincount(bins[start:stop], minlength=3)) <= 1
    assert chosen.report["balance"]["found"] == [20, 20, 20]
    assert shortfall(chosen.report) is None


def test_an_attribute_alone_is_what_all_factors_say() -> None:
    for identities in (
        {},
        {"attributes": {"skin_tone_ita_deg": {"uniform": [0, 30]}}},
        {"sample": {"prior": {"scale": 0.5}}},
    ):
        it = job(3, **identities)
        _, _, attributes = identity_factors(it.spec, it.info.layout, np.arange(50))
        alone = attribute_of(it.spec, it.info.layout, "skin_tone_ita_deg", np.arange(50))
        np.testing.assert_array_equal(alone, attributes["skin_tone_ita_deg"])


def test_balance_and_distance_together_hold_both() -> None:
    parts = Given(5)
    it = job(30, balance=BALANCE, min_distance=0.15)
    chosen = choose(it, parts=parts)
    values = attribute_of(it.spec, it.info.layout, "skin_tone_ita_deg", chosen.persons)
    assert np.bincount(bins_of(values, tuple(map(float, EDGES)))).tolist() == [10, 10, 10]
    assert chosen.nearest_distance is not None
    assert chosen.nearest_distance.min() >= 0.15
    # One by one, in the order of draws: the same people.
    taken: list[int] = []
    room = [10, 10, 10]
    drawn = np.arange(max(chosen.persons) + 1)
    vectors = unit(descriptors(drawn, 5), centre()).astype(np.float64)
    their = bins_of(attribute_of(it.spec, it.info.layout, "skin_tone_ita_deg", drawn), tuple(map(float, EDGES)))
    for number in drawn:
        if their[number] >= 0 and room[their[number]] and (1 - vectors[taken] @ vectors[number] >= 0.15).all():
            taken.append(int(number))
            room[their[number]] -= 1
    assert sorted(chosen.persons.tolist()) == taken
    # Nobody was described whose bin was full when the block began.
    assert sum(map(len, parts.blocks)) < len(drawn)


def test_when_tries_run_out_there_are_fewer_and_the_report_says_so() -> None:
    chosen = choose(job(200, min_distance=0.6, max_tries=2), parts=Given(3))
    assert len(chosen) < 20
    assert chosen.report["separation"]["compared"] == 400
    assert chosen.report["separation"]["acceptance"][-1] == [400, len(chosen)]
    text = shortfall(chosen.report)
    assert text is not None
    assert f"{len(chosen)} of 200 identities" in text
    assert "400 draws compared" in text


def test_a_short_bin_costs_identities_not_balance() -> None:
    """Draws of the rarest bin run out; shares stay within the tolerance and neighbours are counted anew."""
    chosen = choose(
        job(90, balance={**BALANCE, "edges": [0, 20, 45, 62], "max_tries": 4}, min_distance=0.01), parts=Given(6)
    )
    found = np.array(chosen.report["balance"]["found"])
    assert 0 < found.sum() < 90
    assert np.abs(found / found.sum() - 1 / 3).max() <= max(0.02, 1 / found.sum()) + 1e-9
    assert chosen.descriptors is not None
    cosines = chosen.descriptors @ chosen.descriptors.T - 2 * np.eye(len(chosen))
    np.testing.assert_allclose(chosen.nearest_distance, 1 - cosines.max(axis=1), atol=1e-5)


def test_a_bin_that_nobody_is_in_is_an_error_with_advice() -> None:
    with pytest.raises(IdentityError, match=r"none of 80 draws has skin_tone_ita_deg 62\.85 to 62\.88.*attributes"):
        choose(job(4, balance={**BALANCE, "edges": [0, 62.85, 62.88], "max_tries": 20}))


def test_the_report_keeps_a_bounded_curve() -> None:
    chosen = choose(job(3000, min_distance=0.0001), parts=Given(8))
    curve = chosen.report["separation"]["acceptance"]
    assert len(curve) <= 100
    assert curve[-1] == [chosen.report["separation"]["compared"], 3000]
