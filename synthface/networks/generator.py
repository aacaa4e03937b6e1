"""G(λ, ε): mapping and synthesis joined, with truncation; what a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from synthface.networks.mapping import GROUPS, LambdaSizes, MappingNetwork, broadcast
from synthface.networks.noise import noise_maps
from synthface.networks.synthesis import SynthesisConfig, make_synthesis
from synthface.networks.truncation import Truncation, truncate_attribute_preserving, truncate_plain
from synthface.networks.vae import FactorVae, VaeConfig


@dataclass(frozen=True)
class GeneratorConfig:
    """The shape of a generator.

    Args:
        sizes: of λ.
        synthesis: of the synthesis network.
        num_noise: length of ε.
        inputs: what the mapping network takes beside ε: `lambda`, or `z`, the λ-VAEs' codes. The paper saw no difference.
        mapping_layers, lr_multiplier: of the mapping network.
        vaes: factor to the shape of its λ-VAE; needed for `z`.
    """

    sizes: LambdaSizes
    synthesis: SynthesisConfig
    num_noise: int = 32
    inputs: Literal["lambda", "z"] = "lambda"
    mapping_layers: int = 8
    lr_multiplier: float = 0.01
    vaes: Mapping[str, VaeConfig] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> GeneratorConfig:
        """The inverse of `to_dict`, also after a round trip through JSON."""
        synthesis = {**data["synthesis"], "attention_at": tuple(data["synthesis"]["attention_at"])}
        vaes = {
            name: VaeConfig(**{**vae, "bounds": None if vae["bounds"] is None else tuple(vae["bounds"])})
            for name, vae in data["vaes"].items()
        }
        parsed = {"sizes": LambdaSizes(**data["sizes"]), "synthesis": SynthesisConfig(**synthesis), "vaes": vaes}
        return GeneratorConfig(**{**data, **parsed})


class GeneratorNetwork(nn.Module):
    """λ and ε to pictures.

    Buffers: `neutral` (λ total,), the λ whose factors other than identity truncation counts as zero: no expression, facing
    the camera, under the training set's mean light; `w_mean` (w_dim,) = w̄; `w_alpha` (w_dim,) = w̄_α.
    """

    neutral: Tensor
    w_mean: Tensor
    w_alpha: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.sizes = config.sizes
        self.num_ws = config.synthesis.num_ws
        w_dim = config.synthesis.w_dim
        self.vaes = nn.ModuleDict({name: FactorVae(vae) for name, vae in config.vaes.items()})
        if config.inputs == "z":
            assert set(GROUPS) == set(config.vaes), "a generator driven by z needs the four λ-VAEs"
            num_factors = sum(config.vaes[name].z_size for name in GROUPS)
        else:
            num_factors = config.sizes.total
        self.mapping = MappingNetwork(
            num_factors,
            config.num_noise,
            w_dim=w_dim,
            num_layers=config.mapping_layers,
            lr_multiplier=config.lr_multiplier,
        )
        self.synthesis = make_synthesis(config.synthesis)
        self.register_buffer("neutral", torch.zeros(config.sizes.total))
        self.register_buffer("w_mean", torch.zeros(w_dim))
        self.register_buffer("w_alpha", torch.zeros(w_dim))

    def condition(self, vector: Tensor) -> Tensor:
        """What the mapping network takes for λ (N, total): λ itself, or the z that the VAEs' encoders give it."""
        if self.config.inputs == "lambda":
            return vector
        codes = [self.vaes[name].encode(vector[:, self.sizes.columns(name)])[0] for name in GROUPS]  # type: ignore[operator]
        return torch.cat(codes, dim=1)

    def w(self, vector: Tensor, noise: Tensor) -> Tensor:
        """W (N, w_dim) of λ (N, total) and ε (N, E)."""
        w: Tensor = self.mapping(self.condition(vector), noise)
        return w

    def w_plus(self, vector: Tensor, noise: Tensor, truncation: Truncation | None = None) -> Tensor:
        """W+ (N, num_ws, w_dim) of λ and ε, truncated where asked for."""
        ws = broadcast(self.w(vector, noise), self.num_ws)
        if truncation is None or truncation.psi == 1.0 or truncation.kind == "none":
            return ws
        if truncation.kind == "plain":
            return truncate_plain(ws, self.w_mean, truncation)
        neutral = self.w(self.neutralised(vector), torch.zeros_like(noise))
        return truncate_attribute_preserving(ws, neutral, self.w_alpha, truncation)

    def neutralised(self, vector: Tensor) -> Tensor:
        """λ (N, total) with every factor but identity set to neutral."""
        identity = self.sizes.columns("identity").to(vector.device)
        return self.neutral.expand_as(vector).index_copy(1, identity, vector[:, identity])

    def forward(
        self,
        vector: Tensor,
        noise: Tensor,
        maps: Sequence[Tensor] | None,
        *,
        level: float | None = None,
        truncation: Truncation | None = None,
    ) -> Tensor:
        """Pictures (N, 3, H, W), about [−1, 1], of λ (N, total), ε (N, E) and noise maps; see `make_synthesis`."""
        picture: Tensor = self.synthesis(self.w_plus(vector, noise, truncation), maps, level=level)
        return picture

    @torch.no_grad()
    def pictures(
        self, vector: Tensor, noise: npt.NDArray[np.float32], *, truncation: Truncation | None = None
    ) -> Tensor:
        """Pictures (N, 3, size, size) in [−1, 1] as rendering makes them: the noise maps are keyed by each sample's ε.

        Args:
            vector: (N, total) λ, on the network's device.
            noise: (N, E) ε.
            truncation: how far and where; None is none.
        """
        maps = [m.to(vector.device) for m in noise_maps(noise, self.config.synthesis.noise_resolutions)]
        eps = torch.from_numpy(np.array(noise)).to(vector.device)
        picture: Tensor = self(vector, eps, maps, truncation=truncation)
        return picture.clamp(-1.0, 1.0)
