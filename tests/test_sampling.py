"""Factors from rows: keyed, stable, and distributed as asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from synthface.plan import Plan
from synthface.sampling import Samples, sample
from tests.specs_for_tests import plan_of

GOLDEN = Path(__file__).parent / "golden" / "samples.json"
EVEN = {"ambient": 0.4, "lights": []}


def draw(plan: Plan) -> Samples:
    return sample(plan, np.arange(plan.num_images))


def many(count: int = 2000, **changes: Any) -> Samples:
    return draw(plan_of(identities={"count": count}, images_per_identity=1, splits={"train": 1}, **changes))


def test_a_row_is_bit_equal_alone_and_in_any_batch() -> None:
    factors = {
        "pose": {"yaw": {"uniform": [-40, 40]}, "pitch": {"normal": [0, 5]}, "roll": {"von_mises": [0, 50]}},
        "expression": {
            "mixture": [{"weight": 1, "neutral": True}, {"weight": 2, "named": {"smile": {"beta": [2, 3]}}}]
        },
        "lighting": {
            "frame": "head",
            "ambient": 0.4,
            "lights": [
                {
                    "azimuth": {"uniform": [-90, 90]},
                    "elevation": 20,
                    "intensity": 0.5,
                    "colour_temperature": {"uniform": [3000, 8000]},
                }
            ],
        },
    }
    plan = plan_of(factors=factors, correlate=[{"between": ["pose.yaw", "pose.pitch"], "rho": 0.5}])
    whole = draw(plan)
    for row in range(plan.num_images):
        alone = sample(plan, [row])
        for name, values in alone.columns.items():
            assert np.array_equal(values[0], whole.columns[name][row]), name
        np.testing.assert_array_equal(alone.factors.noise[0], whole.factors.noise[row])


def test_golden_samples_are_pinned() -> None:
    from tests.golden.remake import samples

    found = samples()
    for name, values in json.loads(GOLDEN.read_text()).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


def test_adding_a_factor_a_condition_or_images_leaves_the_rest_as_it_was() -> None:
    pose = {"yaw": {"uniform": [-30, 30]}, "pitch": 0, "roll": 0}
    before = draw(plan_of(factors={"pose": pose}))
    more = plan_of(
        factors={"pose": pose, "expression": {"named": {"smile": {"uniform": [0, 1]}}}},
        images_per_identity=5,
        identities={"count": 9},
    )
    after = draw(more)
    kept = np.isin(after.rows.key, before.rows.key)
    assert kept.sum() == len(before)
    for name in ("yaw_deg", "ambient", "light_azimuth_deg"):
        np.testing.assert_array_equal(after.columns[name][kept], before.columns[name])
    np.testing.assert_array_equal(after.factors.shape[kept], before.factors.shape)
    np.testing.assert_array_equal(after.factors.noise[kept], before.factors.noise)


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ({"uniform": [-20, 40]}, stats.uniform(-20, 60)),
        ({"normal": [5, 8]}, stats.norm(5, 8)),
        ({"normal": {"mean": 0, "std": 10, "low": 5, "high": 30}}, stats.truncnorm(0.5, 3, 0, 10)),
        ({"normal": {"mean": 0, "std": 10, "low": -60, "high": -45}}, stats.truncnorm(-6, -4.5, 0, 10)),
        ({"beta": {"a": 2, "b": 5, "low": -30, "high": 30}}, stats.beta(2, 5, -30, 60)),
        ({"von_mises": [10, 8]}, stats.vonmises(8)),
    ],
)
def test_draws_follow_their_distribution(spec: dict[str, Any], reference: Any) -> None:
    drawn = many(factors={"pose": {"yaw": spec, "pitch": 0, "roll": 0}}).columns["yaw_deg"].astype(float)
    if "von_mises" in spec:
        drawn = np.radians(drawn - 10)
    assert stats.kstest(drawn, reference.cdf).pvalue > 1e-3


def test_choices_and_mixtures_keep_their_weights() -> None:
    choice = {"choice": {"values": [-10, 0, 30], "weights": [1, 2, 5]}}
    mixture = {"mixture": [{"weight": 3, "uniform": [-20, -10]}, {"weight": 1, "constant": 7}]}
    drawn = many(factors={"pose": {"yaw": choice, "pitch": mixture, "roll": 0}}).columns
    counts = [(drawn["yaw_deg"].round() == value).sum() for value in (-10, 0, 30)]
    assert stats.chisquare(counts, np.array([1, 2, 5]) / 8 * 2000).pvalue > 1e-3
    assert abs((drawn["pitch_deg"] > 0).mean() - 0.25) < 0.04
    below = drawn["pitch_deg"][drawn["pitch_deg"] < 0]
    assert stats.kstest(below, stats.uniform(-20, 10).cdf).pvalue > 1e-3


def test_a_copula_correlates_and_keeps_the_marginals() -> None:
    factors = {
        "pose": {"yaw": {"uniform": [-40, 40]}, "pitch": {"normal": [0, 8]}, "roll": 0},
        "lighting": {"ambient": {"uniform": [0.2, 0.8]}, "lights": []},
    }
    drawn = many(factors=factors, correlate=[{"between": ["pose.yaw", "lighting.ambient"], "rho": 0.6}]).columns
    rank = stats.spearmanr(drawn["yaw_deg"], drawn["ambient"]).statistic
    assert abs(rank - 6 / np.pi * np.arcsin(0.3)) < 0.05
    assert abs(stats.spearmanr(drawn["pitch_deg"], drawn["ambient"]).statistic) < 0.06
    assert stats.kstest(drawn["ambient"], stats.uniform(0.2, 0.6).cdf).pvalue > 1e-3


def test_joint_rows_are_taken_whole_with_their_weights(tmp_path: Path) -> None:
    (tmp_path / "poses.csv").write_text("yaw,pitch,w\n-30,5,1\n0,-5,3\n30,10,0\n")
    spec = "\n".join(
        [
            "version: 1", "name: joint", "seed: 1", "identities: {count: 800}", "images_per_identity: 1",
            "joint: [{table: {file: poses.csv, columns: {pose.yaw: yaw, pose.pitch: pitch}, weight: w}}]",
        ]
    )  # fmt: skip
    (tmp_path / "spec.yaml").write_text(spec)
    from synthface.plan import make_plan
    from synthface.spec.layout import resolve
    from synthface.spec.loader import load_spec
    from tests.specs_for_tests import bundled_layout

    drawn = draw(make_plan(resolve(load_spec(tmp_path / "spec.yaml"), bundled_layout()), bundled_layout())).columns
    rows = {*zip(drawn["yaw_deg"].round(3).tolist(), drawn["pitch_deg"].round(3).tolist(), strict=True)}
    assert rows == {(-30.0, 5.0), (0.0, -5.0)}
    assert abs((drawn["yaw_deg"] == 0).mean() - 0.75) < 0.05


def test_per_identity_and_per_dataset_values_are_shared() -> None:
    pose = {
        "yaw": {"uniform": [-30, 30], "per": "identity"},
        "pitch": {"uniform": [-9, 9], "per": "dataset"},
        "roll": {"uniform": [-9, 9]},
    }
    drawn = draw(plan_of(factors={"pose": pose, "noise": {"per": "identity"}}, images_per_identity=5))
    per_identity = drawn.columns["yaw_deg"].reshape(4, 5)
    assert (per_identity == per_identity[:, :1]).all()
    assert len(np.unique(per_identity[:, 0])) == 4
    assert len(np.unique(drawn.columns["pitch_deg"])) == 1
    assert len(np.unique(drawn.columns["roll_deg"])) == 20
    assert len(np.unique(drawn.factors.noise[:, 0])) == 4


def test_conditions_override_their_leaves_and_nothing_else() -> None:
    factors = {"pose": {"yaw": {"uniform": [-5, 5]}, "pitch": {"uniform": [-9, 9]}, "roll": 0}}
    drawn = draw(
        plan_of(
            factors=factors,
            conditions={"front": {}, "side": {"pose": {"yaw": {"uniform": [30, 60]}}}},
            images_per_identity={"front": 3, "side": 2},
        )
    ).columns
    side = drawn["condition"] == "side"
    assert side.sum() == 8
    assert (drawn["yaw_deg"][side] >= 30).all()
    assert (np.abs(drawn["yaw_deg"][~side]) <= 5).all()
    assert (np.abs(drawn["pitch_deg"]) <= 9).all()


def test_a_lamp_that_a_condition_lacks_has_intensity_zero() -> None:
    lamp = {"azimuth": 30, "elevation": 0, "intensity": 0.7}
    drawn = draw(
        plan_of(
            conditions={"lit": {"lighting": {"lights": [lamp]}}, "even": {"lighting": {"lights": []}}},
            images_per_identity={"lit": 1, "even": 1},
        )
    ).columns
    even = drawn["condition"] == "even"
    assert (drawn["light0_intensity"][even] == 0).all()
    np.testing.assert_allclose(drawn["light0_intensity"][~even], 0.7)


def test_an_attribute_sets_the_skin_tone() -> None:
    drawn = draw(
        plan_of(
            identities={"count": 30, "attributes": {"skin_tone_ita_deg": {"uniform": [-50, 60]}}}, images_per_identity=1
        )
    )
    tone = drawn.columns["skin_tone_ita_deg"]
    assert tone.min() < -20
    assert tone.max() > 30
    assert np.corrcoef(tone, drawn.factors.albedo[:, 0])[0, 1] > 0.9


def test_head_light_turns_with_the_head() -> None:
    lighting = {"frame": "head", "ambient": 0.2, "lights": [{"azimuth": 0, "elevation": 0, "intensity": 1}]}
    drawn = draw(plan_of(factors={"pose": {"yaw": 30, "pitch": 0, "roll": 0}, "lighting": lighting})).columns
    np.testing.assert_allclose(drawn["light_azimuth_deg"], 30, atol=1e-3)


def test_labels_are_finite_and_declared() -> None:
    plan = plan_of(output={"annotations": ["lambda"]})
    drawn = draw(plan)
    assert list(drawn.columns) == [column.name for column in plan.columns()]
    for column in plan.columns():
        values = drawn.columns[column.name]
        assert values.shape == (plan.num_images, *column.shape), column.name
        if column.dtype == "float32":
            assert values.dtype == np.float32, column.name
            assert np.isfinite(values).all(), column.name
