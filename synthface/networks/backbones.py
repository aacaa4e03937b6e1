"""Small convolutional networks: pictures to a vector that still knows where things are.

All end the same way: a 1 × 1 convolution to few channels, and a dense layer over what is left of the picture, brought to a
grid of fixed size; so the same weights take pictures of another size.
While a network learns, its convolutions are followed by batch normalisation; `fold` makes that part of the convolutions.
Those that begin with a published network are in `trunks`.

Source: residual blocks and bottlenecks by He et al. 2016; a plain chain of 3 × 3 convolutions with identities by Ding et al.
2021 (RepVGG), of which only the identity is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from synthface.networks.trunks import FaceMeshTrunk, LandmarkReader


@dataclass(frozen=True)
class BackboneConfig:
    """A backbone's sizes.

    Args:
        size_px: H = W of the pictures that it learned from; halved by the stem and by each stage.
        stem: channels of the stem.
        widths: channels of each stage.
        blocks: blocks in each stage, after the one that halves.
        last: channels before the dense layer.
        grid: H = W of the maps before it.
        features: length of the vector.
        leak: slope of the vector's rectifier below 0; with 0 many of its numbers die while a network learns.
    """

    size_px: int = 112
    stem: int = 16
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1, 2, 2)
    last: int = 32
    grid: int = 5
    features: int = 256
    leak: float = 0.1

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks):
            raise ValueError(
                f"{len(self.widths)} widths but {len(self.blocks)} numbers of blocks; give one of each a stage"
            )
        if self.size_px % 16:
            raise ValueError(f"size_px is {self.size_px}; allowed: multiples of 16")

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> BackboneConfig:
        """The inverse of `to_dict`."""
        lists = {name: tuple(data[name]) for name in ("widths", "blocks")}
        return BackboneConfig(**{**data, **lists})


class Unit(nn.Module):
    """Convolution, batch normalisation, and a ReLU unless `activate` is false."""

    def __init__(self, num_in: int, num_out: int, taps: int = 3, stride: int = 1, *, activate: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, taps, stride, padding=taps // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(num_out)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to maps of 1/stride of the size, rounded up."""
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.activate else x

    def fold(self) -> None:
        """Make the normalisation, as it stands in eval mode, part of the convolution."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()


class PlainBlock(nn.Module):
    """One 3 × 3 convolution beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unit = Unit(width, width, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same size."""
        return F.relu(x + self.unit(x))


class Bottleneck(nn.Module):
    """1 × 1 to half the channels, 3 × 3, 1 × 1 back, beside a shortcut."""

    def __init__(self, num_in: int, num_out: int, stride: int = 1) -> None:
        super().__init__()
        self.units = nn.Sequential(
            Unit(num_in, num_out // 2, 1),
            Unit(num_out // 2, num_out // 2, 3, stride),
            Unit(num_out // 2, num_out, 1, activate=False),
        )
        self.shortcut = nn.Identity() if num_in == num_out else Unit(num_in, num_out, 1, activate=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps of 1/stride of the size."""
        beside = x if self.stride == 1 else F.avg_pool2d(x, self.stride)
        return F.relu(self.shortcut(beside) + self.units(x))


class Backbone(nn.Module):
    """A stem, stages, and a vector.

    Args:
        config: sizes.
        stem: makes the stem: to maps of half the size.
        halve: makes what begins a stage: channels in, channels out.
        block: makes a block of a stage, from its channels.
    """

    def __init__(
        self,
        config: BackboneConfig,
        stem: Callable[[int], nn.Module],
        halve: Callable[[int, int], nn.Module],
        block: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.config = config
        layers = [stem(config.stem)]
        for (before, width), num in zip(itertools.pairwise((config.stem, *config.widths)), config.blocks, strict=True):
            layers += [halve(before, width), *(block(width) for _ in range(num))]
        self.layers = nn.Sequential(*layers, Unit(config.widths[-1], config.last, 1))
        self.dense = nn.Linear(config.last * config.grid**2, config.features)
        self.num_features = config.features

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, size, size) in [−1, 1] to vectors (N, features)."""
        maps = F.adaptive_avg_pool2d(self.layers(images), self.config.grid)
        return F.leaky_relu(self.dense(maps.flatten(1)), self.config.leak)


def plain(config: BackboneConfig) -> Backbone:
    """3 × 3 convolutions beside identities."""
    return Backbone(config, lambda width: Unit(3, width, 3, 2), lambda a, b: Unit(a, b, 3, 2), PlainBlock)


def bottleneck(config: BackboneConfig) -> Backbone:
    """Bottlenecks after a stem of 5 × 5."""
    return Backbone(
        config, lambda width: Unit(3, width, 5, 2), lambda a, b: Bottleneck(a, b, 2), lambda a: Bottleneck(a, a)
    )


#: Backbones by name.
BACKBONES: Mapping[str, Callable[[BackboneConfig], Backbone | FaceMeshTrunk | LandmarkReader]] = {
    "plain": plain,
    "bottleneck": bottleneck,
    "facemesh": FaceMeshTrunk,
    "landmarks": LandmarkReader,
}


def fold(network: nn.Module) -> nn.Module:
    """Make every normalisation in a network part of its convolution; for use, not for training. In place."""
    for module in network.modules():
        if isinstance(module, Unit):
            module.fold()
    return network
