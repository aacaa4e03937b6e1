"""Does W change the same way whatever the face? Mean cosines of Δw when one factor changes.

Property 1: from a fixed start a to a fixed end b, under any setting of the other factors. Property 2: by a fixed offset
b − a, from any start.

Source: Deng et al. 2020, Eq. 10, Sec. 5.1 and Table 2: 50 pairs (a, b), 100 settings each, the mean of all 100 × 100
cosines; mean and standard deviation over the pairs. Those include each direction with itself; `without_self` doesn't. The
other factors include ε. Pairs with a = b have no direction and are drawn again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.networks.mapping import GROUPS
from training.evaluate.bench import Bench, Unavailable
from training.evaluate.source import FactorSource
from training.evaluate.subject import Styled

_MAX_TRIES = 100


def count(bench: Bench) -> int:
    """Pictures to look at: none."""
    return 0


def measure(bench: Bench) -> dict[str, Any]:
    """Both properties of every factor.

    Raises:
        Unavailable: the generator has no styles.
    """
    if not isinstance(bench.subject, Styled):
        raise Unavailable("needs a generator with style codes")
    sizes = bench.recipe.directions
    result: dict[str, Any] = {"num_pairs": sizes.num_pairs, "num_contexts": sizes.num_contexts, "networks": []}
    for name, is_fixed in (("same_start_and_end", True), ("same_offset", False)):
        result[name] = {}
        for factor in GROUPS:
            rng = bench.rng(f"directions {name} {factor}")
            cosines = [
                mean_cosine(changes(bench.subject, bench.source, factor, sizes.num_contexts, is_fixed, rng=rng))
                for _ in range(sizes.num_pairs)
            ]
            paper, without_self = torch.tensor(cosines, dtype=torch.float64).T
            result[name][factor] = {
                "mean": float(paper.mean()),
                "std": float(paper.std()),
                "without_self": float(without_self.mean()),
            }
    return result


@torch.no_grad()
def changes(
    subject: Styled, source: FactorSource, factor: str, num_contexts: int, is_fixed: bool, *, rng: torch.Generator
) -> Tensor:
    """Δw (num_contexts, w_dim) of one pair (a, b) of a factor.

    Args:
        subject, source: the generator, and where factors come from.
        factor: what changes.
        num_contexts: settings of everything else.
        is_fixed: from a to b; else from anywhere by b − a.
        rng: draws.
    """
    columns = source.sizes.columns(factor)
    start, end = _pair(source, factor, rng)
    first, noise = source.vectors(num_contexts, rng=rng), source.noise(num_contexts, rng=rng)
    if is_fixed:
        first[:, columns] = start
    second = first.clone()
    second[:, columns] = first[:, columns] + (end - start)
    return subject.styles(second, noise) - subject.styles(first, noise)


def mean_cosine(changes: Tensor) -> tuple[float, float]:
    """The mean of all N × N cosines of vectors (N, D), and of those between different ones."""
    num = len(changes)
    squared = float(F.normalize(changes.double(), dim=1).sum(dim=0).square().sum())
    return squared / num**2, (squared - num) / (num * (num - 1))


def _pair(source: FactorSource, factor: str, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    for _ in range(_MAX_TRIES):
        start, end = source.factor(factor, 2, rng=rng)
        if not torch.equal(start, end):
            return start, end
    raise Unavailable(f"{source.name}: {factor} never varies")
