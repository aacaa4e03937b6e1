"""SGD and the learning rates that face recognition uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class ScheduleSettings:
    """How long to train and how fast.

    Args:
        epochs: the budget, as multiples of the split's images.
        kind: `steps` divides the rate by ten at each milestone (Deng et al. 2019); `polynomial` lowers it to zero as
            (1 − t)^power (InsightFace's later recipes).
        learning_rate: the highest, for the recipe's whole batch.
        warmup: share of the budget over which it rises from zero.
        milestones: shares of the budget.
        power: of `polynomial`.
        momentum, weight_decay: of SGD.
        clip_norm: gradients of the network's weights longer than this are shortened.
    """

    epochs: float = 24.0
    kind: Literal["steps", "polynomial"] = "polynomial"
    learning_rate: float = 0.1
    warmup: float = 0.02
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9)
    power: float = 2.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 5.0

    def rate(self, done: float) -> float:
        """The learning rate after a share `done` in [0, 1] of the budget."""
        if done < self.warmup:
            return self.learning_rate * done / self.warmup
        if self.kind == "steps":
            return self.learning_rate * 0.1 ** sum(done >= milestone for milestone in self.milestones)
        return self.learning_rate * (1 - (done - self.warmup) / (1 - self.warmup)) ** self.power


def optimiser(modules: Iterable[nn.Module], settings: ScheduleSettings) -> torch.optim.SGD:
    """SGD over all weights of the modules."""
    weights = [p for module in modules for p in module.parameters() if p.requires_grad]
    return torch.optim.SGD(
        weights, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
