"""The λ-VAEs: z ~ N(0, I) to the factors of real photos, one network per factor.

Source: Deng et al. 2020, Sec. 3.1 and supplement I; the first stage of Dai and Wipf 2019, a Gaussian decoder with one learned
scale. Encoders are used in training, and at generation only by a generator that takes z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: How sharply the smooth clamp of bounded outputs turns: its bend is about 1/20 wide.
_SHARPNESS = 40.0
NUM_HIDDEN = 3


@dataclass(frozen=True)
class VaeConfig:
    """The shape of one λ-VAE.

    Args:
        size: of the factor's λ.
        z_size: of its z.
        width: of the three hidden layers each way.
        bounds: the range of λ; the decoder cannot leave it. None is unbounded.
        initial_s: what the decoder's scale starts at. At 1, the scale of the standardised λ itself, ignoring z is already
            optimal and training never leaves that point; it must start well below.
    """

    size: int
    z_size: int
    width: int
    bounds: tuple[float, float] | None = None
    initial_s: float = 0.1


#: z sizes and hidden widths of the paper.
PAPER_Z = {"identity": 128, "expression": 32, "lighting": 16, "pose": 3}
PAPER_WIDTH = {"identity": 512, "expression": 256, "lighting": 128, "pose": 32}


class VaeTerms(NamedTuple):
    """What a training step minimises, in nats, means over the batch.

    Args:
        kl: KL(q(z|x) ‖ N(0, I)).
        reconstruction: −log p(x|z) of the standardised λ.
        error: mean squared reconstruction error of the standardised λ.
    """

    kl: Tensor
    reconstruction: Tensor
    error: Tensor

    @property
    def loss(self) -> Tensor:
        """The negative evidence lower bound."""
        return self.kl + self.reconstruction


class FactorVae(nn.Module):
    """A variational autoencoder of one factor.

    λ is standardised inside by `mean` and `scale`; both interfaces speak λ in its own units.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _mlp(config.size, config.width, 2 * config.z_size)
        self.decoder = _mlp(config.z_size, config.width, config.size)
        self.log_s = nn.Parameter(torch.tensor(math.log(config.initial_s)))
        self.register_buffer("mean", torch.zeros(config.size))
        self.register_buffer("scale", torch.ones(config.size))

    def set_standardisation(self, table: Tensor) -> None:
        """Set `mean` and `scale` from training λ (M, size); a constant column keeps scale 1."""
        spread = table.std(dim=0, unbiased=False)
        self.mean.copy_(table.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def encode(self, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (N, z_size) of q(z|λ) for λ (N, size)."""
        mean, log_variance = self.encoder((factor - self.mean) / self.scale).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor, *, residual: Tensor | None = None) -> Tensor:
        """λ (N, size) of z (N, z_size), inside the bounds.

        Args:
            z: standard normal.
            residual: standard normal (N, size): draws from p(λ|z) rather than its mean, as the paper takes it. The mean
                alone has too little variance wherever z doesn't determine λ.
        """
        standard = self.decoder(z)
        if residual is not None:
            standard = standard + self.log_s.exp() * residual
        factor: Tensor = self.mean + self.scale * standard
        return factor if self.config.bounds is None else smooth_clamp(factor, *self.config.bounds)

    def terms(self, factor: Tensor, *, noise: Tensor) -> VaeTerms:
        """The loss on λ (N, size) under standard normal `noise` (N, z_size).

        Source: Dai and Wipf 2019, Eq. 5: KL + Σ[(x − x̂)²/(2s²) + log s + ½ log 2π], s learned.
        """
        mean, log_variance = self.encode(factor)
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(dim=1).mean()
        decoded = self.decode(mean + (0.5 * log_variance).exp() * noise)
        return VaeTerms(
            kl, -self.log_likelihood(factor, decoded).mean(), self._residual(factor, decoded).square().mean()
        )

    def log_likelihood(self, factor: Tensor, decoded: Tensor) -> Tensor:
        """log p(λ|z) (N,) of the standardised λ where z decodes to `decoded`."""
        squares = self._residual(factor, decoded).square() * (-2.0 * self.log_s).exp()
        return -(0.5 * squares + self.log_s + 0.5 * math.log(2 * math.pi)).sum(dim=1)

    def _residual(self, factor: Tensor, decoded: Tensor) -> Tensor:
        return (factor - decoded) / self.scale


def smooth_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """x kept in [low, high] with a gradient everywhere: the identity away from the ends."""
    k = _SHARPNESS / (high - low)
    # The clamp only takes off what rounding adds beyond the ends.
    return (low + (F.softplus(k * (x - low)) - F.softplus(k * (x - high))) / k).clamp(low, high)


def _mlp(num_in: int, width: int, num_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in [num_in] + [width] * (NUM_HIDDEN - 1):
        layers += [nn.Linear(size, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, num_out))
