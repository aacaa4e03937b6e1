"""The disentanglement score: does changing one factor leave the others alone?

For factor i, pictures in groups: within a group only u_i changes. σ_j is the variance of the re-estimated u_j within a group,
averaged over groups, divided by its variance over the photos; DS_i = Π_{j≠i} σ_i / σ_j.

Source: Deng et al. 2020, Eq. 9. What the paper leaves open, and we choose:

- The variance of a vector is the sum of its numbers' variances (unbiased), so it doesn't depend on the axes.
- Identity is the recognition network's descriptor, centred and brought to unit length: its variance within a group is
  then the mean of 1 − cos over pairs of its pictures.
- ε is the same within a group: it is none of the four factors.

The photos' variance enters DS_i cubed, so scores compare only under the same normaliser: σ's without it are given too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.networks.mapping import GROUPS, LambdaSizes
from training.evaluate.bench import Bench, Unavailable
from training.evaluate.networks import Named, unit_descriptors
from training.evaluate.source import FactorSource

_NUM_RESAMPLES = 200


def count(bench: Bench) -> int:
    """Pictures to look at."""
    sizes = bench.recipe.disentanglement
    return len(GROUPS) * sizes.num_groups * sizes.per_group + bench.num_real


def measure(bench: Bench) -> dict[str, Any]:
    """DS of all four factors.

    Raises:
        Unavailable: there are no photos, no judge, or no recognition network.
    """
    sizes, judge, identity = bench.recipe.disentanglement, bench.require_judge(), bench.require_identity()
    estimates = estimated(bench.read_real([judge, identity]), bench.source.sizes, identity)
    normaliser = {name: float(total_variance(values)) for name, values in estimates.items()}
    for name, value in normaliser.items():
        if not value > 0:
            raise Unavailable(f"{name} reads the same off all {bench.num_real} photos: nothing to normalise by")
    within: dict[str, dict[str, Tensor]] = {}
    for factor in GROUPS:
        rng = bench.rng(f"disentanglement {factor}")
        vector, noise = groups(bench.source, factor, sizes.num_groups, sizes.per_group, rng=rng)
        estimates = estimated(bench.read(vector, noise, [judge, identity]), bench.source.sizes, identity)
        within[factor] = {
            name: total_variance(values.reshape(sizes.num_groups, sizes.per_group, -1))
            for name, values in estimates.items()
        }
    return {
        "num_groups": sizes.num_groups,
        "per_group": sizes.per_group,
        "networks": [judge.name, identity.name],
        "num_photos": bench.num_real,
        "photo_variance": normaliser,
        "sigma": {i: {j: float(v.mean()) for j, v in row.items()} for i, row in within.items()},
        "sigma_normalised": {
            i: {j: float(v.mean()) / normaliser[j] for j, v in row.items()} for i, row in within.items()
        },
        "ds": {i: score(i, {j: float(v.mean()) for j, v in row.items()}, normaliser) for i, row in within.items()},
        "ds_90_percent": {i: interval(i, row, normaliser, rng=bench.rng("bootstrap")) for i, row in within.items()},
    }


def groups(
    source: FactorSource, factor: str, num_groups: int, per_group: int, *, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """λ and ε of groups that follow each other: within one, only `factor` changes."""
    vector = source.vectors(num_groups, rng=rng).repeat_interleave(per_group, dim=0)
    noise = source.noise(num_groups, rng=rng).repeat_interleave(per_group, dim=0)
    vector[:, source.sizes.columns(factor)] = source.factor(factor, num_groups * per_group, rng=rng)
    return vector, noise


def estimated(read: Mapping[str, Tensor], sizes: LambdaSizes, identity: Named) -> dict[str, Tensor]:
    """u_i re-estimated from pictures, factor to (N, size): by the judge, and for identity by the recogniser."""
    found = {name: read["vector"][:, sizes.columns(name)] for name in GROUPS if name != "identity"}
    return {"identity": unit_descriptors(read, identity), **found}


def total_variance(rows: Tensor) -> Tensor:
    """The unbiased variance (…) of vectors (…, N, D), summed over their numbers."""
    return rows.double().var(dim=-2, unbiased=True).sum(dim=-1)


def score(factor: str, sigma: Mapping[str, float], normaliser: Mapping[str, float]) -> float:
    """Eq. 9: DS_i = Π_{j≠i} (σ_i / n_i) / (σ_j / n_j); infinite where another factor doesn't change at all."""
    own = sigma[factor] / normaliser[factor]
    with np.errstate(divide="ignore"):
        ratios = [np.float64(own) / (value / normaliser[j]) for j, value in sigma.items() if j != factor]
    return float(np.prod(ratios))


def interval(
    factor: str, within: Mapping[str, Tensor], normaliser: Mapping[str, float], *, rng: torch.Generator
) -> tuple[float, float]:
    """Between which scores 90 % of resampled sets of groups lie: how far so many groups leave DS open."""
    num = len(within[factor])
    rows = torch.randint(num, (_NUM_RESAMPLES, num), generator=rng)
    means = {name: values[rows].mean(dim=1) for name, values in within.items()}
    scores = [
        score(factor, {name: float(values[k]) for name, values in means.items()}, normaliser)
        for k in range(_NUM_RESAMPLES)
    ]
    low, high = np.quantile(scores, (0.05, 0.95), method="nearest")
    return float(low), float(high)
