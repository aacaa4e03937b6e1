"""Trading variety for quality in W: the plain truncation trick, and the one that leaves the other factors alone.

Source: Karras et al. 2019, Sec. 3 (plain); Deng et al. 2020, supplement IV (attribute-preserving).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["attribute-preserving", "plain", "none"]

#: The paper's setting truncates the first 8 of 14 layers: those of 32² and below.
NUM_LAYERS = 8


@dataclass(frozen=True)
class Truncation:
    """How far and where to truncate.

    Args:
        psi: ψ; 1 changes nothing, 0 gives the centre. The paper uses 0.7.
        kind: `attribute-preserving` moves by the same step as the neutral face of that identity would; `plain` moves
            straight to the mean of W; `none` doesn't move.
        first_layer, last_layer: the range [first, last) of W+ layers that are moved.
    """

    psi: float = 0.7
    kind: Kind = "attribute-preserving"
    first_layer: int = 0
    last_layer: int = NUM_LAYERS


def truncate_plain(ws: Tensor, centre: Tensor, truncation: Truncation) -> Tensor:
    """w' = w + (1 − ψ)(w̄ − w) on the layers of the range; ws (N, L, w_dim), centre (w_dim,)."""
    return _move(ws, centre - ws, truncation)


def truncate_attribute_preserving(ws: Tensor, w_neutral: Tensor, centre: Tensor, truncation: Truncation) -> Tensor:
    """w' = w(a, u) + (1 − ψ)(w̄_α − w(a, u_j = 0)) on the layers of the range.

    Args:
        ws: (N, L, w_dim) styles of the samples.
        w_neutral: (N, w_dim) the same identities with every other factor neutral and ε = 0.
        centre: (w_dim,) w̄_α.
        truncation: how far and where.

    Source: Deng et al. 2020, supplement IV. The reference code averages the centre over random ε but evaluates w(a, 0) at
    ε = 0; we take ε = 0 in both.
    """
    return _move(ws, (centre - w_neutral)[:, None], truncation)


@torch.no_grad()
def mean_w(w_of: Callable[[Tensor], Tensor], inputs: Tensor, *, chunk: int = 4096) -> Tensor:
    """The mean (w_dim,) of w_of over the rows of `inputs`, in float64: w̄, or w̄_α where the rows are neutral faces."""
    sums = [w_of(part).double().sum(dim=0) for part in torch.split(inputs, chunk)]
    return (torch.stack(sums).sum(dim=0) / len(inputs)).to(inputs.dtype)


def _move(ws: Tensor, step: Tensor, truncation: Truncation) -> Tensor:
    layers = torch.arange(ws.shape[1], device=ws.device)
    inside = (layers >= truncation.first_layer) & (layers < truncation.last_layer)
    return ws + (1.0 - truncation.psi) * step * inside[:, None].to(ws.dtype)
