"""Heads: descriptors and identities to the loss, with a margin that keeps identities apart.

Source: Deng et al. 2019 (ArcFace, Eq. 3); Wang et al. 2018 (CosFace, Eq. 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class HeadSettings:
    """A margin.

    Args:
        kind: `arcface` adds the margin to the angle, `cosface` takes it off the cosine.
        scale: s, what cosines are multiplied by.
        margin: m; radians for `arcface` (0.5 is usual), cosine for `cosface` (0.35 or 0.4).
    """

    kind: Literal["arcface", "cosface"] = "arcface"
    scale: float = 64.0
    margin: float = 0.5


def arcface(cosines: Tensor, margin: float) -> Tensor:
    """cos(θ + m); beyond θ + m = π, where that would rise again, cos θ − m sin m (as InsightFace does)."""
    sines = torch.sqrt((1 - cosines * cosines).clamp(1e-9, 1))
    shifted = cosines * math.cos(margin) - sines * math.sin(margin)
    return torch.where(cosines > math.cos(math.pi - margin), shifted, cosines - margin * math.sin(margin))


def cosface(cosines: Tensor, margin: float) -> Tensor:
    """cos θ − m."""
    return cosines - margin


MARGINS: Mapping[str, Callable[[Tensor, float], Tensor]] = {"arcface": arcface, "cosface": cosface}


class Head(nn.Module):
    """One direction for each identity; always in float32."""

    def __init__(self, settings: HeadSettings, descriptor_size: int, num_identities: int) -> None:
        super().__init__()
        self.settings = settings
        self.directions = nn.Parameter(0.01 * torch.randn(num_identities, descriptor_size))

    def forward(self, descriptors: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss over descriptors (N, D) of identities (N,), and the share whose own direction is the nearest."""
        with torch.autocast(descriptors.device.type, enabled=False):
            cosines = F.linear(F.normalize(descriptors.float()), F.normalize(self.directions.float()))
            own = cosines.gather(1, identities[:, None])
            narrowed = MARGINS[self.settings.kind](own, self.settings.margin)
            logits = self.settings.scale * cosines.scatter(1, identities[:, None], narrowed)
            accuracy = (cosines.detach().argmax(1) == identities).float().mean()
            return F.cross_entropy(logits, identities), accuracy
