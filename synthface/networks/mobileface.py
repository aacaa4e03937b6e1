"""MobileFace, a small recognition network of mostly depthwise convolutions: upright face crops to descriptors.

Source: becauseofAI, MobileFace (Identification V3), after Sandler et al. 2018, MobileNetV2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class MobileFaceConfig:
    """An architecture.

    Args:
        size_px: H = W of the crops.
        stem: channels of the first convolution.
        stages: channels of each stage; a stage halves the size.
        descriptor_size: D.
    """

    size_px: int
    stem: int
    stages: tuple[int, ...]
    descriptor_size: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> MobileFaceConfig:
        """The inverse of `to_dict`."""
        return MobileFaceConfig(data["size_px"], data["stem"], tuple(data["stages"]), data["descriptor_size"])


class Stage(nn.Module):
    """A halving, then a residual pair, each channel by itself."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(num_in, num_out, 1, bias=False)
        self.halve, self.halve_act = _depthwise(num_out, stride=2), nn.PReLU(num_out)
        self.first, self.first_act = _depthwise(num_out), nn.PReLU(num_out)
        self.second, self.second_act = _depthwise(num_out), nn.PReLU(num_out)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to maps of half the size, rounded up."""
        x = self.halve_act(self.halve(self.mix(x)))
        return x + self.second_act(self.second(self.first_act(self.first(x))))


class MobileFace(nn.Module):
    """Crops (N, 3, size, size) in [−1, 1] to descriptors (N, D), not normalised."""

    def __init__(self, config: MobileFaceConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(3, config.stem, 3, stride=2, padding=1, bias=False)
        self.stem_act = nn.PReLU(config.stem)
        widths = [config.stem, *config.stages]
        self.stages = nn.Sequential(*(Stage(widths[n], widths[n + 1]) for n in range(len(config.stages))))
        side = config.size_px
        for _ in range(1 + len(config.stages)):
            side = (side + 1) // 2
        self.last = nn.Linear(widths[-1] * side * side, config.descriptor_size)

    def forward(self, chips: Tensor) -> Tensor:
        """Descriptors (N, D)."""
        # Its training pictures were levels of 255, less 127.5, over 128.
        x = self.stages(self.stem_act(self.stem(chips * (127.5 / 128.0))))
        return self.last(x.flatten(1))


def _depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
