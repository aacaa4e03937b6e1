"""How far two sets of feature vectors are apart, and how much of each lies within the other.

Source: Heusel et al. 2017 (Fréchet distance, in `training.gan.metrics`); Bińkowski et al. 2018 (kernel distance);
Kynkäänniemi et al. 2019 (improved precision and recall).
"""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 1024


def kernel_distance(
    first: Tensor, second: Tensor, *, num_subsets: int, subset: int, rng: torch.Generator
) -> tuple[float, float]:
    """KID: the unbiased squared MMD under the kernel (⟨x, y⟩ / D + 1)³, mean and standard deviation over subsets.

    Args:
        first, second: (N, D) and (M, D).
        num_subsets, subset: how many random subsets of how many rows of each, fewer where there are fewer.
        rng: draws the subsets.
    """
    size = min(subset, len(first), len(second))
    found = []
    for _ in range(num_subsets):
        a, b = (rows[torch.randperm(len(rows), generator=rng)[:size]].double() for rows in (first, second))
        found.append(squared_mmd(a, b))
    values = torch.tensor(found, dtype=torch.float64)
    return float(values.mean()), float(values.std(unbiased=False))


def squared_mmd(first: Tensor, second: Tensor) -> float:
    """The unbiased estimate of (N, D) and (N, D): the means of k over different x and over different y, less 2 k(x, y)."""
    num, width = first.shape
    xx, yy, xy = ((a @ b.T / width + 1.0) ** 3 for a, b in ((first, first), (second, second), (first, second)))
    within = (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (num * (num - 1))
    return float(within - 2.0 * xy.mean())


def precision_recall(real: Tensor, fake: Tensor, *, neighbours: int = 3) -> tuple[float, float]:
    """Share of fakes that lie among the photos, and of photos that lie among the fakes.

    A vector lies among a set where it is no farther from one of its members than that member's k-th nearest other one.

    Args:
        real, fake: (N, D) and (M, D); the measure depends on N and M: take them equal.
        neighbours: k.
    """
    return share_within(fake, real, neighbours), share_within(real, fake, neighbours)


def share_within(points: Tensor, support: Tensor, neighbours: int) -> float:
    """Share of points (N, D) within the k-th nearest neighbour's distance of some member of `support` (M, D)."""
    support = support.double()
    radius = kth_distance(support, neighbours)
    inside = [
        (torch.cdist(part, support, compute_mode="donot_use_mm_for_euclid_dist") <= radius).any(dim=1)
        for part in torch.split(points.double(), _CHUNK)
    ]
    return float(torch.cat(inside).double().mean())


def kth_distance(rows: Tensor, neighbours: int) -> Tensor:
    """(N,) the distance of each row (N, D) to its k-th nearest other row."""
    rows = rows.double()
    found = []
    for start in range(0, len(rows), _CHUNK):
        part = torch.cdist(rows[start : start + _CHUNK], rows, compute_mode="donot_use_mm_for_euclid_dist")
        # A row isn't its own neighbour, whatever rounding makes of the distance to itself.
        part[torch.arange(len(part)), torch.arange(start, start + len(part))] = torch.inf
        found.append(part.kthvalue(min(neighbours, len(rows) - 1), dim=1).values)
    return torch.cat(found)
