"""λ ⊕ ε to W: the mapping network, and how λ becomes one vector.

Source: Karras et al. 2019, Sec. 2, with the changes of Deng et al. 2020, supplement I: no normalisation of the input, no
style mixing. λ is brought to unit variance by constants of the training table, which is a change of units and, unlike
a normalisation of each sample, keeps its length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from synthface.factors.types import FactorLayout
from synthface.morphable.model import Factors
from synthface.networks.layers import EqualisedLinear, leaky_relu

NUM_SH = 27


@dataclass(frozen=True)
class LambdaSizes:
    """How long each part of λ is, and so where it lies in the vector; the only place that knows.

    The vector is shape ⊕ albedo ⊕ expression ⊕ sh (channel-major) ⊕ pose_rad.
    """

    shape: int
    albedo: int
    expression: int

    @staticmethod
    def of(layout: FactorLayout) -> LambdaSizes:
        """The sizes of a generator's λ."""
        return LambdaSizes(layout.num_shape, layout.num_albedo, layout.num_expression)

    @property
    def parts(self) -> Mapping[str, slice]:
        """Part of λ to its place in the vector."""
        slices, start = {}, 0
        for name in Factors._fields:
            size = {"sh": NUM_SH, "pose_rad": 3}.get(name) or getattr(self, name)
            slices[name] = slice(start, start + size)
            start += size
        return slices

    @property
    def total(self) -> int:
        """Length of the vector."""
        return self.shape + self.albedo + self.expression + NUM_SH + 3

    def pack(self, factors: Factors) -> Tensor:
        """λ as one vector (N, total)."""
        vector = torch.cat([getattr(factors, name).flatten(1) for name in Factors._fields], dim=1)
        assert vector.shape[1] == self.total, f"λ has {vector.shape[1]} numbers, expected {self.total}"
        return vector

    def unpack(self, vector: Tensor) -> Factors:
        """The inverse of `pack`."""
        parts = {name: vector[:, place] for name, place in self.parts.items()}
        return Factors(**{**parts, "sh": parts["sh"].reshape(-1, 3, 9)})

    def columns(self, group: str) -> Tensor:
        """Indices of a factor's numbers in the vector, `identity` say; int64."""
        return torch.cat([torch.arange(self.parts[name].start, self.parts[name].stop) for name in GROUPS[group]])


#: The paper's factors, and the parts of λ that each consists of.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "identity": ("shape", "albedo"),
    "expression": ("expression",),
    "lighting": ("sh",),
    "pose": ("pose_rad",),
}


class MappingNetwork(nn.Module):
    """(λ or z) ⊕ ε → W.

    Buffers (constants, saved with the weights): `mean` and `scale` (num_factors,) bring λ to unit variance; `noise_mean`
    (E,) and `noise_mix` (E, E) take a standard normal ε to the distribution of the codes that training used, so that
    ε ~ N(0, I) is in distribution even after a warm start by reconstruction.

    Args:
        num_factors: length of the λ vector, or of z.
        num_noise: length of ε.
        w_dim: width of every layer and of W.
        num_layers: depth.
        lr_multiplier: how much slower than the synthesis network it learns.
    """

    mean: Tensor
    scale: Tensor
    noise_mean: Tensor
    noise_mix: Tensor

    def __init__(
        self, num_factors: int, num_noise: int, *, w_dim: int = 512, num_layers: int = 8, lr_multiplier: float = 0.01
    ) -> None:
        super().__init__()
        widths = [num_factors + num_noise] + [w_dim] * num_layers
        self.layers = nn.ModuleList(
            EqualisedLinear(num_in, num_out, lr_multiplier=lr_multiplier) for num_in, num_out in pairwise(widths)
        )
        self.register_buffer("mean", torch.zeros(num_factors))
        self.register_buffer("scale", torch.ones(num_factors))
        self.register_buffer("noise_mean", torch.zeros(num_noise))
        self.register_buffer("noise_mix", torch.eye(num_noise))

    def forward(self, factors: Tensor, noise: Tensor) -> Tensor:
        """W (N, w_dim) of factor vectors (N, num_factors) and ε (N, E)."""
        return self.from_code(factors, self.noise_mean + noise @ self.noise_mix.T)

    def from_code(self, factors: Tensor, code: Tensor) -> Tensor:
        """W (N, w_dim) where the code that ε stands for (N, E) is known, from an encoder say."""
        x = torch.cat([(factors - self.mean) / self.scale, code], dim=1)
        for layer in self.layers:
            x = leaky_relu(layer(x))
        return x

    def set_standardisation(self, table: Tensor) -> None:
        """Set `mean` and `scale` from the training λ (M, num_factors); a constant column keeps scale 1."""
        spread = table.std(dim=0, unbiased=False)
        self.mean.copy_(table.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def set_noise_distribution(self, codes: Tensor) -> None:
        """Set `noise_mean` and `noise_mix` so that ε ~ N(0, I) has the mean and covariance of the codes (M, E)."""
        codes = codes.double()
        self.noise_mean.copy_(codes.mean(dim=0))
        values, vectors = torch.linalg.eigh(torch.cov(codes.T).reshape(codes.shape[1], codes.shape[1]))
        self.noise_mix.copy_(vectors * values.clamp_min(1e-8).sqrt() @ vectors.T)

    def noise_of(self, code: Tensor) -> Tensor:
        """The ε (N, E) that stands for a code (N, E): the inverse of what `forward` does to ε."""
        noise: Tensor = torch.linalg.solve(self.noise_mix.double(), (code - self.noise_mean).double().T).T
        return noise.to(code.dtype)


def broadcast(w: Tensor, num_ws: int) -> Tensor:
    """W (N, w_dim) → W+ (N, num_ws, w_dim), the same style at every layer."""
    return w[:, None].expand(-1, num_ws, -1)
