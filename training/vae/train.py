"""Training one λ-VAE per factor, resumably.

Source: Dai and Wipf 2019, first stage, with the schedule of Deng et al. 2020: Adam 1e-4, halved every 150 epochs, 400
epochs, batches of 64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from synthface.networks.mapping import GROUPS, LambdaSizes
from synthface.networks.vae import PAPER_WIDTH, PAPER_Z, FactorVae, VaeConfig
from training.checkpoint import (
    load_latest,
    load_module,
    load_optimiser,
    module_tensors,
    optimiser_tensors,
    save_checkpoint,
)

Report = Callable[[str], None]


@dataclass(frozen=True)
class VaeRecipe:
    """How the λ-VAEs are trained; the defaults are the paper's.

    Args:
        epochs, batch: passes over the table, and rows a step.
        lr: Adam's learning rate at the start.
        halve_every: epochs after which it halves, again and again.
        held_out: share of the rows kept for the report, never trained on.
        z_sizes, widths: factor to the size of z, and to the width of the hidden layers.
        initial_s: what the decoder's scale starts at; see `VaeConfig`.
        expression_bounds: the range that decoded expressions can't leave.
        checkpoint_every: epochs.
        seed: of initial weights, order and noise.
        num_draws: decoded samples that the report compares with held-out rows.
    """

    epochs: int = 400
    batch: int = 64
    lr: float = 1e-4
    halve_every: int = 150
    held_out: float = 0.1
    z_sizes: Mapping[str, int] = field(default_factory=lambda: dict(PAPER_Z))
    widths: Mapping[str, int] = field(default_factory=lambda: dict(PAPER_WIDTH))
    initial_s: float = 0.1
    expression_bounds: tuple[float, float] = (0.0, 1.0)
    checkpoint_every: int = 25
    seed: int = 0
    num_draws: int = 2000

    def __post_init__(self) -> None:
        for name, sizes in (("z_sizes", self.z_sizes), ("widths", self.widths)):
            if set(sizes) != set(GROUPS):
                raise ValueError(f"{name} has {', '.join(sizes)}; it needs exactly {', '.join(GROUPS)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}; allowed: between 0 and 1")

    def config(self, group: str, sizes: LambdaSizes) -> VaeConfig:
        """The shape of a factor's VAE."""
        bounds = self.expression_bounds if group == "expression" else None
        return VaeConfig(len(sizes.columns(group)), self.z_sizes[group], self.widths[group], bounds, self.initial_s)


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to report on, of one factor: (M, size) each."""

    train: Tensor
    held_out: Tensor


def split_rows(vector: Tensor, columns: Tensor, recipe: VaeRecipe) -> Split:
    """A factor's rows, split the same way for every factor."""
    order = torch.randperm(len(vector), generator=torch.Generator().manual_seed(recipe.seed))
    num_held_out = max(1, round(len(vector) * recipe.held_out))
    return Split(vector[order[num_held_out:]][:, columns], vector[order[:num_held_out]][:, columns])


def train_factor(
    group: str, split: Split, config: VaeConfig, recipe: VaeRecipe, folder: Path, report: Report
) -> tuple[FactorVae, list[dict[str, float]]]:
    """Train a factor's VAE, from `folder`'s last checkpoint on; returns it and its losses per epoch.

    Each epoch draws its order and noise from its own seed, so a resumed run equals an unbroken one bit for bit.
    """
    torch.manual_seed(_seed(recipe, group, -1))
    vae = FactorVae(config)
    vae.set_standardisation(split.train)
    optimiser = torch.optim.Adam(vae.parameters(), lr=recipe.lr)
    curve: list[dict[str, float]] = []
    found = load_latest(folder, warn=report)
    if found is not None:
        load_module("vae", vae, found.tensors)
        load_optimiser("optimiser", optimiser, found.tensors)
        curve = list(found.state["curve"])
    for epoch in range(len(curve), recipe.epochs):
        for settings in optimiser.param_groups:
            settings["lr"] = recipe.lr * 0.5 ** (epoch // recipe.halve_every)
        curve.append(_epoch(vae, optimiser, split.train, recipe, _seed(recipe, group, epoch)))
        is_last = epoch + 1 == recipe.epochs
        if is_last or (epoch + 1) % recipe.checkpoint_every == 0:
            tensors = module_tensors("vae", vae) | optimiser_tensors("optimiser", optimiser)
            save_checkpoint(folder, epoch + 1, tensors, {"curve": curve})
            report(
                f"{group}: epoch {epoch + 1}/{recipe.epochs}, loss {curve[-1]['loss']:.3f}, kl {curve[-1]['kl']:.3f}"
            )
    return vae.eval(), curve


def _epoch(
    vae: FactorVae, optimiser: torch.optim.Optimizer, rows: Tensor, recipe: VaeRecipe, seed: int
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)
    sums = {"loss": 0.0, "kl": 0.0, "error": 0.0}
    for index in torch.split(order, recipe.batch):
        batch = rows[index]
        terms = vae.terms(batch, noise=torch.randn(len(batch), vae.config.z_size, generator=generator))
        optimiser.zero_grad()
        terms.loss.backward()
        optimiser.step()
        for name in sums:
            sums[name] += float(getattr(terms, name).detach()) * len(batch) / len(rows)
    return sums


def _seed(recipe: VaeRecipe, group: str, epoch: int) -> int:
    return (recipe.seed * 4 + list(GROUPS).index(group)) * 100_003 + epoch + 1
