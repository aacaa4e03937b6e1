"""Eq. 9 on a generator whose scores are known in closed form."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from synthface.networks.mapping import GROUPS
from tests.training.evaluate_toy import NAMES, SIZES, Analytic, V, all_signs, bench, vectors_of
from training.evaluate import disentanglement
from training.evaluate.bench import Unavailable
from training.evaluate.recipe import DisentanglementSizes, EvaluateRecipe
from training.evaluate.source import FactorSource, rng_for

CROSSTALK = torch.tensor(
    [[0.6, 0.1, 0.05, 0.2], [0.2, 1.0, 0.1, 0.05], [0.1, 0.3, 0.9, 0.02], [0.05, 0.1, 0.2, 1.1]], dtype=torch.float64
)
RECIPE = EvaluateRecipe(disentanglement=DisentanglementSizes(8, 6), num_real=16, chunk=7)


def expected_kernel(j: str, i: str, crosstalk: torch.Tensor) -> float:
    """The variance of what is read of factor j, per variance of the sign s_i, when only s_i changes.

    Linear readings: C² |v_j|². The descriptor is e^{i(θ + C s)}, whose part that depends on s is i sin(C) s e^{iθ}: sin² C.
    """
    c = float(crosstalk[NAMES.index(j), NAMES.index(i)])
    return math.sin(c) ** 2 if j == "identity" else c**2 * float(V[j].square().sum())


def expected_photo_variance(j: str, crosstalk: torch.Tensor) -> float:
    """Over all 16 choices of signs, unbiased: Σ_i C² |v_j|², or 1 − Π_i cos² C since the mean of e^{iΣ C s} is Π cos C."""
    row = crosstalk[NAMES.index(j)]
    linear = float(row.square().sum() * V[j].square().sum())
    return 16 / 15 * (1 - float(row.cos().square().prod()) if j == "identity" else linear)


def test_scores_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    """Whatever signs were drawn: within a group all readings move with the same s_i, so its variance cancels in DS."""
    found = disentanglement.measure(bench(Analytic(CROSSTALK), tmp_path, RECIPE))
    n = {j: expected_photo_variance(j, CROSSTALK) for j in NAMES}
    assert found["photo_variance"] == pytest.approx(n, rel=1e-5)
    for i in NAMES:
        own = expected_kernel(i, i, CROSSTALK) / n[i]
        others = [expected_kernel(j, i, CROSSTALK) / n[j] for j in NAMES if j != i]
        assert found["ds"][i] == pytest.approx(math.prod(own / other for other in others), rel=1e-4)
        # A sign drawn evenly has unbiased variance 1 on average; the ratio of two σ's of a row is exact.
        ratios = {j: found["sigma"][i][j] / found["sigma"][i][i] for j in NAMES}
        kernels = {j: expected_kernel(j, i, CROSSTALK) / expected_kernel(i, i, CROSSTALK) for j in NAMES}
        assert ratios == pytest.approx(kernels, rel=1e-4)
        assert 0.6 < found["sigma"][i][i] / expected_kernel(i, i, CROSSTALK) < 1.3


def test_normalised_sigmas_are_the_sigmas_over_the_photos_variance(tmp_path: Path) -> None:
    found = disentanglement.measure(bench(Analytic(CROSSTALK), tmp_path, RECIPE))
    for i, j in itertools.product(NAMES, NAMES):
        expected = found["sigma"][i][j] / found["photo_variance"][j]
        assert found["sigma_normalised"][i][j] == pytest.approx(expected, rel=1e-12)


def test_halving_crosstalk_raises_the_score_by_4_for_each_other_factor() -> None:
    """Under one and the same normaliser; for identity the variance is that of a descriptor, sin²."""
    halved = CROSSTALK / 2 + torch.diag(CROSSTALK.diagonal()) / 2
    scores = []
    for crosstalk in (CROSSTALK, halved):
        sigma = {j: expected_kernel(j, "pose", crosstalk) for j in NAMES}
        scores.append(disentanglement.score("pose", sigma, dict.fromkeys(NAMES, 1.0)))
    angle = float(CROSSTALK[0, 3])  # of the descriptor, whose variance is sin²
    assert scores[1] / scores[0] == pytest.approx(16 * (math.sin(angle) / math.sin(angle / 2)) ** 2, rel=1e-9)


def test_a_generator_without_crosstalk_scores_infinity() -> None:
    score = disentanglement.score("pose", {"pose": 1.0, "lighting": 0.0, "identity": 0.1}, dict.fromkeys(NAMES, 1.0))
    assert score == math.inf


def test_a_factor_that_no_photo_varies_is_said_and_not_divided_by(tmp_path: Path) -> None:
    at = bench(Analytic(torch.diag(torch.tensor([0.6, 1.0, 0.0, 1.0], dtype=torch.float64))), tmp_path, RECIPE)
    with pytest.raises(Unavailable, match="lighting reads the same off all 16 photos"):
        disentanglement.measure(at)


def test_the_score_is_a_product_over_the_other_factors() -> None:
    """2/1 · (2/1)/(3/2) · (2/1)/(5/1), each σ over its own normaliser."""
    sigma = {"identity": 2.0, "expression": 1.0, "lighting": 3.0, "pose": 5.0}
    normaliser = {"identity": 1.0, "expression": 1.0, "lighting": 2.0, "pose": 1.0}
    assert disentanglement.score("identity", sigma, normaliser) == pytest.approx(2.0 * (2 / 1.5) * (2 / 5))


@pytest.mark.parametrize("factor", NAMES)
def test_within_a_group_only_one_factor_changes(factor: str) -> None:
    """ε neither."""
    source = FactorSource(vectors_of(all_signs()), SIZES, 4, "analytic")
    vector, noise = disentanglement.groups(source, factor, 3, 8, rng=rng_for(0, "x"))
    vector, noise = vector.reshape(3, 8, -1), noise.reshape(3, 8, -1)
    for group in GROUPS:
        spread = vector[..., SIZES.columns(group)].std(dim=1).amax(dim=1)
        assert ((spread > 0) == (group == factor)).all()
    assert noise.std(dim=1).max() < 1e-6
    assert noise[0, 0].sub(noise[1, 0]).abs().max() > 0.1


def test_total_variance_is_that_of_the_slow_definition() -> None:
    rows = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    for k in range(3):
        mean = rows[k].mean(dim=0)
        slow = sum(float((row - mean).square().sum()) for row in rows[k]) / 4
        assert float(disentanglement.total_variance(rows)[k]) == pytest.approx(slow, rel=1e-6)


def test_the_interval_holds_the_score_and_shrinks_with_more_groups() -> None:
    rng = torch.Generator().manual_seed(0)
    ranges = []
    for num in (20, 500):
        within = {name: torch.rand(num, generator=rng, dtype=torch.float64) + 0.5 for name in NAMES}
        score = disentanglement.score(
            "pose", {n: float(v.mean()) for n, v in within.items()}, dict.fromkeys(NAMES, 1.0)
        )
        low, high = disentanglement.interval("pose", within, dict.fromkeys(NAMES, 1.0), rng=rng)
        assert low < score < high
        ranges.append(math.log(high / low))
    assert ranges[1] < ranges[0] / 2
