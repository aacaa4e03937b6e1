"""Sobol', factorial and one-factor designs."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.stats import qmc

from synthface.designs import sobol
from synthface.sampling import sample
from tests.specs_for_tests import plan_of

POSE = {"yaw": {"uniform": [-40, 40]}, "pitch": {"uniform": [-20, 20]}, "roll": {"uniform": [-10, 10]}}


def test_sobol_points_are_more_even_than_random_ones() -> None:
    names = [f"leaf{n}" for n in range(12)]
    points = sobol(3, names, np.arange(512))
    assert qmc.discrepancy(points) < 0.35 * qmc.discrepancy(np.random.default_rng(0).random((512, 12)))


def test_each_sobol_dimension_puts_one_point_in_each_interval() -> None:
    points = sobol(3, [f"leaf{n}" for n in range(40)], np.arange(256))
    for column in points.T:
        assert sorted((column * 256).astype(int)) == list(range(256))


def test_sobol_has_random_access() -> None:
    names = ["a", "b", "c"]
    np.testing.assert_array_equal(sobol(1, names, np.array([777])), sobol(1, names, np.arange(1000))[777:778])


def test_a_sobol_design_covers_the_factors_evenly() -> None:
    plan = plan_of(factors={"pose": POSE}, design="sobol", identities={"count": 64}, images_per_identity=4)
    drawn = sample(plan, np.arange(256)).columns
    counts = np.histogram2d(drawn["yaw_deg"], drawn["pitch_deg"], bins=8, range=[[-40, 40], [-20, 20]])[0]
    assert counts.max() <= 6
    assert counts.min() >= 2
    assert stats.kstest(drawn["yaw_deg"], stats.uniform(-40, 80).cdf).statistic < 0.01


def test_a_factorial_design_has_every_cell_equally_often() -> None:
    pose = {"yaw": {"grid": [-30, 0, 30]}, "pitch": {"grid": {"start": -10, "stop": 10, "num": 2}}, "roll": 0}
    plan = plan_of(
        factors={"pose": pose}, design={"kind": "factorial", "axes": ["pose.yaw", "pose.pitch"]}, images_per_identity=12
    )
    drawn = sample(plan, np.arange(plan.num_images)).columns
    cells, counts = np.unique(
        np.stack([drawn["yaw_deg"].round(), drawn["pitch_deg"].round()], axis=1), axis=0, return_counts=True
    )
    assert len(cells) == 6
    assert set(counts) == {8}
    assert set(drawn["cell"]) == set(range(6))


def test_one_factor_differs_from_its_anchor_in_exactly_that() -> None:
    factors = {"pose": POSE, "expression": {"named": {"smile": {"uniform": [0, 1]}}}}
    design = {"kind": "one_factor", "vary": ["pose.yaw", "expression", "lighting", "noise"], "steps": 3}
    plan = plan_of(factors=factors, design=design, images_per_identity=13)
    drawn = sample(plan, np.arange(plan.num_images))
    columns = drawn.columns
    for identity in range(plan.num_identities):
        rows = np.flatnonzero(columns["identity"] == identity)
        first = rows[0]
        assert columns["varied"][first] == ""
        for row in rows[1:]:
            same = {
                "pose.yaw": columns["yaw_deg"][row] == columns["yaw_deg"][first],
                "pitch": columns["pitch_deg"][row] == columns["pitch_deg"][first],
                "expression": (drawn.factors.expression[row] == drawn.factors.expression[first]).all(),
                "lighting": (drawn.factors.sh[row] == drawn.factors.sh[first]).all(),
                "noise": (drawn.factors.noise[row] == drawn.factors.noise[first]).all(),
            }
            assert {name for name, is_same in same.items() if not is_same} == {str(columns["varied"][row])}


def test_one_leaf_is_varied_in_even_steps() -> None:
    design = {"kind": "one_factor", "vary": ["pose.yaw"], "steps": 4}
    plan = plan_of(factors={"pose": POSE}, design=design, images_per_identity=5)
    yaw = sample(plan, np.arange(plan.num_images)).columns["yaw_deg"].reshape(4, 5)[:, 1:]
    assert ((np.floor((yaw + 40) / 20)) == [0, 1, 2, 3]).all()
