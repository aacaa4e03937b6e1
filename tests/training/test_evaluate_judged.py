"""Identity, control and truncation, on judges and generators that are known to the last number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from synthface.morphable.skin import individual_typology_angle, reference_skin
from synthface.networks.mapping import GROUPS
from synthface.networks.truncation import Kind
from tests.training.evaluate_toy import BASIS, SIZES, Analytic, Judge, all_signs, bench, signs_of, vectors_of
from training.evaluate import control, identity, truncation
from training.evaluate.recipe import ControlSizes, EvaluateRecipe, IdentitySizes, QualitySizes, TruncationSizes
from training.evaluate.source import invented_source, rng_for

INVENTED = invented_source(BASIS, seed=0).table.double()


def test_auc_counts_the_pairs_that_are_the_right_way_round() -> None:
    """Of 12 pairs only 0.4 against 0.5 is the wrong way round; a tie counts half."""
    genuine, impostor = np.array([0.9, 0.8, 0.4]), np.array([0.5, 0.3, 0.2, 0.1])
    assert identity.area(genuine, impostor) == pytest.approx(11 / 12)
    assert identity.area(np.array([0.5]), np.array([0.5, 0.1])) == pytest.approx(0.75)


def test_the_equal_error_rate_is_where_both_errors_meet() -> None:
    """Between the thresholds 0.4 (no reject, a quarter accepted) and 0.5 (a third rejected, a quarter accepted): a quarter."""
    genuine, impostor = np.array([0.9, 0.8, 0.4]), np.array([0.5, 0.3, 0.2, 0.1])
    assert identity.equal_error_rate(genuine, impostor) == pytest.approx(0.25)
    assert identity.equal_error_rate(np.array([0.8, 0.9]), np.array([0.1, 0.2])) == pytest.approx(0.0)
    assert identity.equal_error_rate(np.array([0.1, 0.2]), np.array([0.8, 0.9])) == pytest.approx(1.0)


def test_normal_scores_have_the_error_of_the_normal_distribution() -> None:
    """Means 2 apart, both of deviation 1: EER Φ(−1), AUC Φ(√2)."""
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(2, 1, 20_000), rng.normal(0, 1, 20_000)
    assert identity.equal_error_rate(genuine, impostor) == pytest.approx(0.15866, abs=0.005)
    assert identity.area(genuine, impostor) == pytest.approx(0.92135, abs=0.005)


def test_the_curve_goes_from_nothing_to_everything() -> None:
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(1, 1, 500), rng.normal(0, 1, 500)
    false_accepts, true_accepts = identity.roc(genuine, impostor)
    assert (np.diff(true_accepts) >= 0).all()
    assert true_accepts[-1] >= 0.99
    # The area under it is the AUC, to what its steps leave open.
    under = ((true_accepts[1:] + true_accepts[:-1]) / 2 * np.diff(false_accepts)).sum()
    assert under == pytest.approx(identity.area(genuine, impostor), abs=0.01)


@pytest.mark.parametrize("nuisance", identity.NUISANCES)
def test_a_nuisance_changes_what_its_name_says(tmp_path: Path, nuisance: str) -> None:
    source = bench(Analytic(), tmp_path, EvaluateRecipe(), table=INVENTED).source
    sets = identity.people(source, 10, rng=rng_for(0, "x"))
    (first, noise), (vector, fresh) = sets["first"], sets[nuisance]
    moved = {group for group in GROUPS if not torch.equal(*(v[:, SIZES.columns(group)] for v in (first, vector)))}
    assert moved | ({"noise"} if not torch.equal(noise, fresh) else set()) == set(identity.NUISANCES[nuisance])


def test_identity_that_nothing_else_moves_is_recognised_and_one_that_pose_moves_is_not(tmp_path: Path) -> None:
    """Descriptors are (cos, sin) of an angle: 0.3 s_id, and where pose moves it 0.3 s_id + 1.4 s_pose."""
    figures = []
    for leak in (0.0, 1.4):
        crosstalk = torch.eye(4, dtype=torch.float64)
        crosstalk[0, 0], crosstalk[0, 3] = 0.3, leak
        at = bench(Analytic(crosstalk), tmp_path, EvaluateRecipe(identity=IdentitySizes(60), num_real=16))
        figures.append(identity.measure(at)["by"]["angle"]["nuisances"])
    steady, leaking = figures
    for name in identity.NUISANCES:
        assert steady[name]["genuine_cosine"]["p05"] == pytest.approx(1.0, abs=1e-6)
    # Two identities only: an impostor is the same one half the time, and counts half.
    assert steady["all"]["auc"] == pytest.approx(0.75, abs=0.05)
    assert leaking["expression"]["genuine_cosine"]["p05"] == pytest.approx(1.0, abs=1e-6)
    assert leaking["pose"]["genuine_cosine"]["p05"] == pytest.approx(math.cos(2.8), abs=1e-6)
    assert leaking["pose"]["auc"] < 0.65


def control_of(judge: Judge, tmp_path: Path) -> dict[str, Any]:
    sizes = ControlSizes(num_pose=60, num_expression=20, num_lighting=40, num_random=40)
    recipe = EvaluateRecipe(control=sizes, quality=QualitySizes(num_fakes=8), num_real=16)
    return control.measure(bench(Analytic(), tmp_path, recipe, table=INVENTED, judge=judge))


def test_a_perfect_generator_and_judge_are_in_perfect_agreement(tmp_path: Path) -> None:
    found = control_of(Judge(), tmp_path)
    parts = [*found["pose"].values(), *found["expression"].values(), *found["lighting"].values()]
    for part in [*parts, found["random"]["skin_tone_ita"]]:
        assert part["mae"] < 1e-4
        assert part["slope"] == pytest.approx(1.0, abs=1e-5)
        assert part["correlation"] == pytest.approx(1.0, abs=1e-6)
    assert set(found["expression"]) | set(found["left_out"]) == set(ControlSizes().expressions)
    assert all(part["failures"] == 0 for part in found["pose"].values())
    assert all(f["mean_correlation"] == pytest.approx(1.0, abs=1e-6) for f in found["random"]["factors"].values())


def test_a_judge_that_shrinks_and_shifts_shows_as_slope_bias_and_failures(tmp_path: Path) -> None:
    """Reads 0.6 · yaw + 3°: off by |3° − 0.4 yaw|, more than 10° below −17.5° and above 32.5°."""
    found = control_of(Judge(0.6, math.radians(3.0)), tmp_path)["pose"]["yaw"]
    assert found["slope"] == pytest.approx(0.6, abs=1e-5)
    assert found["intercept"] == pytest.approx(3.0, abs=1e-4)
    assert found["correlation"] == pytest.approx(1.0, abs=1e-6)
    assert found["mae"] > 4
    for row in found["curve"]:
        if row["to"] <= -20:
            assert row["failures"] == 1.0
        if row["from"] >= -10 and row["to"] <= 30:
            assert row["failures"] == 0.0
        assert row["p10"] <= row["median"] <= row["p90"]
        assert row["median"] == pytest.approx(0.6 * (row["from"] + 5) + 3, abs=3.0)
    assert sum(row["num"] for row in found["curve"]) == 60
    assert found["failures"] == pytest.approx(sum(row["num"] * row["failures"] for row in found["curve"]) / 60)


def test_landmarks_are_off_by_what_the_judge_adds(tmp_path: Path) -> None:
    """(0.03, 0.04) of the size, a vector of length 0.05."""
    found = control_of(Judge(), tmp_path)["random"]["landmarks"]
    assert found["mean_error_of_size"] == pytest.approx(0.05, abs=1e-6)
    assert found["per_landmark_of_size"] == pytest.approx([0.05] * 68, abs=1e-6)


def test_agreement_of_four_numbers_is_the_one_worked_out() -> None:
    """Asked 0, 1, 2, 3, read 1, 1, 3, 3: errors 1, 0, 1, 0; the line of best fit is 0.8 + 0.8 x."""
    found = control.agreement(np.arange(4.0), np.array([1.0, 1.0, 3.0, 3.0]), bin_width=2.0, failure=0.5)
    assert (found["mae"], found["bias"], found["failures"]) == (0.5, 0.5, 0.5)
    assert (found["slope"], found["intercept"]) == pytest.approx((0.8, 0.8))
    assert [(row["from"], row["num"], row["median"]) for row in found["curve"]] == [(0.0, 2, 1.0), (2.0, 2, 3.0)]


def test_skin_tone_is_that_of_the_reference_skins_mean_colour() -> None:
    albedo = torch.randn(3, BASIS.num_albedo, generator=torch.Generator().manual_seed(0)).double().numpy() * 0.3
    for row, found in zip(albedo, control.skin_tone_deg(BASIS, albedo), strict=True):
        colours = BASIS.mean_albedo + np.einsum("k,kvc->vc", row, BASIS.albedo_basis)
        slow = individual_typology_angle(colours[reference_skin(BASIS)].mean(axis=0)[None])[0]
        assert found == pytest.approx(slow, abs=0.05)


class Truncatable(Analytic):
    """Truncation multiplies signs by ψ: all of them, or identity's alone."""

    factor = torch.ones(4, dtype=torch.float64)

    def styles(self, vector: Tensor, noise: Tensor) -> Tensor:
        return signs_of(vector)

    def from_styles(self, w: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError

    def shown(self, vector: Tensor) -> Tensor:
        return vectors_of(signs_of(vector) * self.factor)

    def describe(self) -> dict[str, Any]:
        return {"factor": self.factor.tolist()}

    def truncated(self, psi: float, kind: Kind) -> Truncatable:
        other = Truncatable()
        other.factor = torch.full((4,), psi, dtype=torch.float64)
        if kind == "attribute-preserving":
            other.factor[1:] = 1.0
        return other


def test_attribute_preserving_truncation_drifts_less_and_both_lose_spread(tmp_path: Path) -> None:
    """Plain truncation moves every sign by 1 − ψ. Two identities at angles ±ψ are 1 − cos 2ψ apart."""
    recipe = EvaluateRecipe(truncation=TruncationSizes(24, (0.0, 0.5, 1.0)), num_real=16)
    kinds = truncation.measure(bench(Truncatable(), tmp_path, recipe))["kinds"]
    pose_deg = math.degrees(float(vectors_of(all_signs())[0, SIZES.columns("pose")].abs().mean()))
    for keeping, plain in zip(kinds["attribute-preserving"], kinds["plain"], strict=True):
        assert keeping["psi"] == plain["psi"]
        assert keeping["pose_drift_deg"] == keeping["expression_drift"] == keeping["lighting_drift"] == 0.0
        assert plain["pose_drift_deg"] == pytest.approx((1 - plain["psi"]) * pose_deg, rel=1e-6)
        assert keeping["identity_kept"] == pytest.approx(math.cos(1 - keeping["psi"]), abs=1e-6)
        assert keeping["spread"] == pytest.approx(plain["spread"])
    spreads = [row["spread"] for row in kinds["plain"]]
    assert spreads[0] == pytest.approx(0.0, abs=1e-9)
    assert spreads[1] / spreads[2] == pytest.approx((1 - math.cos(1)) / (1 - math.cos(2)), rel=1e-6)
