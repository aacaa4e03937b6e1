"""Where the factors of judged pictures come from: rows of a table, each factor drawn by itself, as the paper draws them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synthface.errors import DatasetError
from synthface.factors.types import FactorLayout
from synthface.morphable.basis import MorphableBasis
from synthface.networks.decoders import Decoder
from synthface.networks.mapping import GROUPS, LambdaSizes
from training.lambda_table import read_table

#: Rows drawn from priors, or made up.
_NUM_ROWS = 8192


@dataclass(frozen=True)
class FactorSource:
    """The λ that there are.

    Args:
        table: (M, total) λ, packed as `sizes` says.
        sizes: of λ.
        num_noise: length of ε, which is always standard normal.
        name: where the rows come from, for the report.
    """

    table: Tensor
    sizes: LambdaSizes
    num_noise: int
    name: str

    def factor(self, group: str, num: int, *, rng: torch.Generator) -> Tensor:
        """One factor of random rows (num, size)."""
        rows = torch.randint(len(self.table), (num,), generator=rng)
        return self.table[rows][:, self.sizes.columns(group)]

    def vectors(self, num: int, *, rng: torch.Generator) -> Tensor:
        """λ (num, total) whose four factors come from rows drawn independently."""
        vector = torch.empty(num, self.sizes.total, dtype=self.table.dtype)
        for group in GROUPS:
            vector[:, self.sizes.columns(group)] = self.factor(group, num, rng=rng)
        return vector

    def noise(self, num: int, *, rng: torch.Generator) -> Tensor:
        """ε (num, E)."""
        return torch.randn(num, self.num_noise, generator=rng, dtype=self.table.dtype)


def rng_for(seed: int, stream: str) -> torch.Generator:
    """Every measurement's own generator: adding one leaves the others' draws as they were."""
    digest = hashlib.sha256(f"evaluate/{seed}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def table_source(path: Path, layout: FactorLayout) -> FactorSource:
    """The rows of a λ table.

    Raises:
        DatasetError: it can't be read, or belongs to another morphable model.
    """
    rows, sizes = read_table(path), LambdaSizes.of(layout)
    if rows.sizes != sizes or rows.expression_names != tuple(layout.expression_names):
        raise DatasetError(
            f"{path}: its λ has {rows.sizes}, the generator takes {sizes}, or their actions differ; give the table that "
            "belongs to the generator's morphable model"
        )
    return FactorSource(rows.vector, sizes, layout.num_noise, f"λ table, {len(rows)} rows, factors shuffled")


def prior_source(decoders: Mapping[str, Decoder], layout: FactorLayout, *, seed: int) -> FactorSource:
    """λ decoded from z ~ N(0, I) by a bundle's priors, as the paper draws them."""
    sizes, rng = LambdaSizes.of(layout), np.random.default_rng(seed)
    table = torch.empty(_NUM_ROWS, sizes.total)
    for group in GROUPS:
        decoder = decoders[group]
        z, residual = (rng.standard_normal((_NUM_ROWS, n)) for n in (decoder.z_size, decoder.size))
        table[:, sizes.columns(group)] = torch.from_numpy(decoder.decode(z, residual=residual))
    return FactorSource(table, sizes, layout.num_noise, "the bundle's priors, z ~ N(0, I)")


def invented_source(basis: MorphableBasis, *, seed: int) -> FactorSource:
    """λ made up, for a generator that was trained on none: see `training.gan.toy.draw_factors`."""
    from synthface.morphable.model import Factors
    from training.gan.toy import ToyRecipe, draw_factors

    layout = basis.layout()
    sizes = LambdaSizes.of(layout)
    batch = draw_factors(basis, _NUM_ROWS, ToyRecipe(seed=seed))
    return FactorSource(sizes.pack(Factors.of(batch)), sizes, layout.num_noise, "made up: see training.gan.toy")
