"""The residual network of dlib's face recognition, differentiable: upright face crops to descriptors.

Frozen batch normalisation is folded into the convolutions. Where a block halves its input, the shortcut is an average over
2 × 2; the two sides of a sum may differ in channels and size, and the smaller one is filled up with zeros.

Source: He et al. 2016 (residual learning), narrowed and cut to 29 convolutions by King 2017,
`dlib_face_recognition_resnet_model_v1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ResidualConfig:
    """An architecture.

    Args:
        size_px: H = W of the crops.
        colour_mean: (R, G, B) of the training pictures in levels of 255, taken off before the network.
        stem: channels and taps of the first convolution, stride 2.
        blocks: channels and stride (1 or 2) of each residual block.
        descriptor_size: D.
    """

    size_px: int
    colour_mean: tuple[float, float, float]
    stem: tuple[int, int]
    blocks: tuple[tuple[int, int], ...]
    descriptor_size: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ResidualConfig:
        """The inverse of `to_dict`."""
        red, green, blue = data["colour_mean"]
        channels, taps = data["stem"]
        blocks = tuple((channels, stride) for channels, stride in data["blocks"])
        return ResidualConfig(data["size_px"], (red, green, blue), (channels, taps), blocks, data["descriptor_size"])


class Block(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(num_in, num_out, 3, stride, padding=1 if stride == 1 else 0)
        self.second = nn.Conv2d(num_out, num_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to maps of the same or half the size."""
        shortcut = x if self.stride == 1 else F.avg_pool2d(x, self.stride)
        return F.relu(_padded_sum(self.second(F.relu(self.first(x))), shortcut))


class ResidualNetwork(nn.Module):
    """Crops (N, 3, size, size) in [−1, 1] to descriptors (N, D), not normalised."""

    colour_mean: Tensor

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.config = config
        channels, taps = config.stem
        self.register_buffer("colour_mean", torch.tensor(config.colour_mean).reshape(3, 1, 1), persistent=False)
        self.stem = nn.Conv2d(3, channels, taps, stride=2)
        widths = [channels, *(width for width, _ in config.blocks)]
        self.blocks = nn.Sequential(
            *(Block(widths[n], width, stride) for n, (width, stride) in enumerate(config.blocks))
        )
        self.last = nn.Linear(widths[-1], config.descriptor_size, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        """Descriptors (N, D)."""
        x = ((chips + 1.0) * 127.5 - self.colour_mean) / 256.0
        x = self.blocks(F.max_pool2d(F.relu(self.stem(x)), 3, stride=2))
        return self.last(x.mean(dim=(2, 3)))


def _padded_sum(a: Tensor, b: Tensor) -> Tensor:
    shape = [max(m, n) for m, n in zip(a.shape, b.shape, strict=True)]
    return _filled(a, shape) + _filled(b, shape)


def _filled(x: Tensor, shape: list[int]) -> Tensor:
    """Zeros below, to the right and in further channels."""
    channels, height, width = (want - have for want, have in zip(shape[1:], x.shape[1:], strict=True))
    return F.pad(x, (0, width, 0, height, 0, channels)) if channels or height or width else x
