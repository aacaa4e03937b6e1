"""Path lengths and directions in W, on maps whose figures follow from a formula."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.evaluate_toy import Analytic, bench, signs_of, vectors_of
from training.evaluate import directions, paths
from training.evaluate.bench import Unavailable
from training.evaluate.recipe import DirectionSizes, EvaluateRecipe, PathSizes
from training.evaluate.source import rng_for

FACTORS = ("identity", "expression", "lighting", "pose")


class StyledAnalytic(Analytic):
    """W is any function of the four signs and ε; pictures are any function of W.

    Args:
        w_of: signs (N, 4) and ε (N, E) to W.
        picture_of: W to pixels (N, D).
    """

    def __init__(
        self, w_of: Callable[[Tensor, Tensor], Tensor], picture_of: Callable[[Tensor], Tensor] = lambda w: w
    ) -> None:
        super().__init__()
        self.w_of, self.picture_of = w_of, picture_of

    def styles(self, vector: Tensor, noise: Tensor) -> Tensor:
        return self.w_of(signs_of(vector), noise)

    def from_styles(self, w: Tensor, noise: Tensor) -> Tensor:
        return self.picture_of(w)[:, :, None, None]

    def truncated(self, psi: float, kind: str) -> Any:
        raise NotImplementedError


def measured(subject: Analytic, tmp_path: Path, pairs: int = 6, contexts: int = 8, table: Tensor | None = None) -> Any:
    recipe = EvaluateRecipe(directions=DirectionSizes(pairs, contexts))
    return directions.measure(bench(subject, tmp_path, recipe, table=table))


@pytest.mark.parametrize("part", ["same_start_and_end", "same_offset"])
def test_a_linear_map_has_cosines_of_exactly_one(tmp_path: Path, part: str) -> None:
    matrix = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = measured(StyledAnalytic(lambda signs, noise: signs @ matrix + noise[:, :1]), tmp_path)[part]
    for factor in FACTORS:
        assert found[factor]["mean"] == pytest.approx(1.0, abs=1e-9)
        assert found[factor]["without_self"] == pytest.approx(1.0, abs=1e-9)
        assert found[factor]["std"] == pytest.approx(0.0, abs=1e-9)


def test_a_direction_that_turns_with_the_context_has_the_cosine_of_the_turn(tmp_path: Path) -> None:
    """Δw = Δs (cos θ, ± sin θ), the sign being ε's: different pairs have cos 1 or cos 2θ, evenly; on average cos² θ."""
    theta = 0.7

    def w_of(signs: Tensor, noise: Tensor) -> Tensor:
        turn = torch.sign(noise[:, :1])
        return signs.sum(dim=1, keepdim=True) * torch.cat(
            [torch.full_like(turn, math.cos(theta)), turn * math.sin(theta)], 1
        )

    found = measured(StyledAnalytic(w_of), tmp_path, pairs=30, contexts=100)
    for part in ("same_start_and_end", "same_offset"):
        for factor in FACTORS:
            assert found[part][factor]["without_self"] == pytest.approx(math.cos(theta) ** 2, abs=0.01)
            # Each direction's cosine with itself is 1: 100 of 100² cosines.
            with_self = (found[part][factor]["without_self"] * 99 + 1) / 100
            assert found[part][factor]["mean"] == pytest.approx(with_self, rel=1e-9)


def test_a_curved_map_keeps_the_first_property_and_loses_the_second(tmp_path: Path) -> None:
    """w = (s, s²) + context: from a to b always (b − a, b² − a²); by ±2 from ∓1 or ±1: (±2, 0) or (±2, 8), cos 1/√17."""

    def w_of(signs: Tensor, noise: Tensor) -> Tensor:
        return torch.cat([signs, signs**2], dim=1) + noise[:, :1]

    found = measured(StyledAnalytic(w_of), tmp_path, pairs=30, contexts=100)
    for factor in FACTORS:
        assert found["same_start_and_end"][factor]["mean"] == pytest.approx(1.0, abs=1e-9)
        expected = (1 + 1 / math.sqrt(17)) / 2
        assert found["same_offset"][factor]["without_self"] == pytest.approx(expected, abs=0.02)


def test_mean_cosine_is_that_of_the_double_loop() -> None:
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = torch.tensor([[float(torch.cosine_similarity(a, b, dim=0)) for b in rows] for a in rows])
    with_self, without_self = directions.mean_cosine(rows)
    assert with_self == pytest.approx(float(slow.mean()), abs=1e-6)
    assert without_self == pytest.approx(float((slow.sum() - 5) / 20), abs=1e-6)


def test_the_first_property_fixes_both_ends_and_nothing_else(tmp_path: Path) -> None:
    """With W = λ itself, every change is the same vector, and it changes one factor's numbers only."""
    subject = StyledAnalytic(lambda signs, noise: signs)
    source = bench(subject, tmp_path, EvaluateRecipe()).source
    found = directions.changes(subject, source, "lighting", 16, True, rng=rng_for(0, "x"))
    assert found[:, [0, 1, 3]].abs().max() < 1e-9
    assert found[:, 2].abs().min() == pytest.approx(2.0)


def test_a_factor_that_never_varies_is_reported_and_not_divided_by(tmp_path: Path) -> None:
    table = vectors_of(torch.ones(16, 4, dtype=torch.float64))
    with pytest.raises(Unavailable, match="identity never varies"):
        measured(StyledAnalytic(lambda signs, noise: signs), tmp_path, table=table)


def lengths(subject: Analytic, tmp_path: Path, kind: str, num: int = 12) -> tuple[Tensor, list[Tensor]]:
    """Path lengths, and the signs at both ends of every path, drawn again as the measurement draws them."""
    at = bench(subject, tmp_path, EvaluateRecipe(paths=PathSizes(num, 1e-4), chunk=5 if num < 100 else num))
    rng = at.rng(f"paths {kind}")
    ends = [signs_of(at.source.vectors(num, rng=rng)) for _ in range(2)]
    return paths.path_lengths(at, subject, kind), ends


@pytest.mark.parametrize("kind", ["w full", "w end", "lambda full"])
def test_straight_and_even_paths_have_the_length_of_their_chord(tmp_path: Path, kind: str) -> None:
    """Pictures and W linear: d/s² is the mean square of A (w₁ − w₀) wherever on the path the step is."""
    matrix = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, (first, second) = lengths(StyledAnalytic(lambda signs, noise: signs @ matrix), tmp_path, kind)
    assert found.tolist() == pytest.approx(((second - first) @ matrix).square().mean(dim=1).tolist(), rel=1e-6)


def test_a_step_at_the_start_sees_the_slope_at_the_start(tmp_path: Path) -> None:
    """Pictures w²: ((w + sΔ)² − w²)² / s² = (2 w Δ + s Δ²)²."""
    subject = StyledAnalytic(lambda signs, noise: signs, lambda w: w**2)
    found, (first, second) = lengths(subject, tmp_path, "w end")
    change = second - first
    expected = (2 * first * change + 1e-4 * change**2).square().mean(dim=1)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_steps_elsewhere_are_spread_over_the_whole_path(tmp_path: Path) -> None:
    """Pictures w² between −1 and 1: the slope 2 w · 2 is even between −4 and 4, its mean square 16/3."""
    subject = StyledAnalytic(lambda signs, noise: signs[:, :1], lambda w: w**2)
    found, (first, second) = lengths(subject, tmp_path, "w full", num=3000)
    moving = (first != second)[:, 0]
    assert float(found[~moving].abs().max()) == 0.0
    assert float(found[moving].mean()) == pytest.approx(16 / 3, rel=0.07)


def test_epsilon_goes_along_a_great_circle_at_even_speed() -> None:
    first, second = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    for t in (0.0, 0.25, 1.0):
        expected = [2 * math.cos(t * math.pi / 2), 2 * math.sin(t * math.pi / 2)]
        assert paths.slerp(first, second, torch.tensor([[t]]))[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_smallest_and_largest_hundredth_are_left_out() -> None:
    """Of 0 … 199 the two smallest and the two largest: the mean of 2 … 197."""
    values = torch.arange(200.0)
    values[-1] = 1e9
    assert paths.trimmed_mean(values) == pytest.approx((2 + 197) / 2)
    assert paths.trimmed_mean(torch.tensor([1.0, 3.0])) == 2.0


def test_generators_without_styles_have_neither(tmp_path: Path) -> None:
    plain = bench(Analytic(), tmp_path, EvaluateRecipe())
    for measurement in (paths, directions):
        with pytest.raises(Unavailable, match="style codes"):
            measurement.measure(plain)
