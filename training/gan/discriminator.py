"""Real or generated: StyleGAN2's residual discriminator, and the progressively growing one of the first StyleGAN.

The one that looks through a frozen network is in `projected.py`.

Source: Karras et al. 2020 (StyleGAN2), Sec. 4; Karras et al. 2018 (progressive growing), Secs. 2–3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.networks.attention import SelfAttention2d
from synthface.networks.layers import EqualisedConv, EqualisedLinear, binomial_kernel, filter_channels, leaky_relu

Kind = Literal["residual", "progressive", "projected"]


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The shape of a discriminator.

    Args:
        kind: `residual` (StyleGAN2), `progressive` (StyleGAN) or `projected` (on frozen features; looks at nothing else here).
        size_px: of the full-grown pictures.
        channel_base, channel_max: a block at resolution r has min(channel_base / r, channel_max) channels.
        group_size: of the minibatch standard deviation; 0 leaves it out.
        attention_at: resolutions whose block starts with self-attention (residual only).
    """

    kind: Kind = "residual"
    size_px: int = 256
    channel_base: int = 16384
    channel_max: int = 512
    group_size: int = 4
    attention_at: tuple[int, ...] = ()

    def channels(self, resolution: int) -> int:
        """Feature maps at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)


class Down(nn.Module):
    """Low-pass filter, then a stride-2 convolution."""

    kernel: Tensor

    def __init__(self, num_in: int, num_out: int, size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_out, num_in, size, size))
        self.bias = nn.Parameter(torch.zeros(num_out)) if bias else None
        self._gain = 1.0 / math.sqrt(num_in * size * size)
        self._size = size
        self.register_buffer("kernel", binomial_kernel(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H/2, W/2)."""
        if self._size == 1:
            # Only every other filtered pixel is looked at.
            x = filter_channels(x, self.kernel, (1, 1, 1, 1), stride=2)
            return F.conv2d(x, self.weight * self._gain, self.bias)
        x = filter_channels(x, self.kernel, (2, 2, 2, 2))
        return F.conv2d(x, self.weight * self._gain, self.bias, stride=2)


class ResidualBlock(nn.Module):
    """Two convolutions and a skip, halving the resolution; variance kept at 1."""

    def __init__(self, num_in: int, num_out: int, *, attends: bool) -> None:
        super().__init__()
        self.attention = SelfAttention2d(num_in) if attends else None
        self.first = EqualisedConv(num_in, num_in, 3)
        self.second = Down(num_in, num_out, 3)
        self.skip = Down(num_in, num_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H/2, W/2)."""
        if self.attention is not None:
            x = self.attention(x)
        y = leaky_relu(self.second(leaky_relu(self.first(x))))
        return (y + self.skip(x)) * math.sqrt(0.5)


class ResidualDiscriminator(nn.Module):
    """StyleGAN2's discriminator: (N, 3, size, size) → logits (N,)."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        resolutions = [2**k for k in range(int(math.log2(config.size_px)), 2, -1)]
        self.from_rgb = EqualisedConv(3, config.channels(config.size_px), 1)
        self.blocks = nn.ModuleList(
            ResidualBlock(config.channels(r), config.channels(r // 2), attends=r in config.attention_at)
            for r in resolutions
        )
        self.head = Head(config.channels(4), config.group_size)

    def forward(self, images: Tensor, *, level: float | None = None) -> Tensor:
        """Logits (N,), > 0 for real."""
        assert level is None, "only the progressive discriminator grows"
        x = leaky_relu(self.from_rgb(images.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


class ProgressiveBlock(nn.Module):
    """Convolution, blur, convolution and halving, as in StyleGAN; and its own input from RGB."""

    kernel: Tensor

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.from_rgb = EqualisedConv(3, num_in, 1)
        self.first = EqualisedConv(num_in, num_in, 3)
        self.second = EqualisedConv(num_in, num_out, 3)
        self.register_buffer("kernel", binomial_kernel(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H/2, W/2)."""
        x = filter_channels(leaky_relu(self.first(x)), self.kernel, (1, 1, 1, 1))
        return leaky_relu(F.avg_pool2d(self.second(x), 2))


class ProgressiveDiscriminator(nn.Module):
    """StyleGAN's discriminator, grown with the generator: (N, 3, r, r) → logits (N,)."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        resolutions = [2**k for k in range(3, int(math.log2(config.size_px)) + 1)]
        self.blocks = nn.ModuleList(ProgressiveBlock(config.channels(r), config.channels(r // 2)) for r in resolutions)
        self.from_rgb_4 = EqualisedConv(3, config.channels(4), 1)
        self.head = Head(config.channels(4), config.group_size)

    def forward(self, images: Tensor, *, level: float | None = None) -> Tensor:
        """Logits (N,) of pictures at resolution 2^⌈level⌉; None is fully grown."""
        level = math.log2(self.config.size_px) if level is None else level
        blocks = [cast(ProgressiveBlock, block) for block in self.blocks]
        last = math.ceil(level) - 3
        x = blocks[last](leaky_relu(blocks[last].from_rgb(images)))
        if level < last + 3:
            below: EqualisedConv = blocks[last - 1].from_rgb if last else self.from_rgb_4
            x = torch.lerp(leaky_relu(below(F.avg_pool2d(images, 2))), x, level - (last + 2))
        for block in reversed(blocks[:last]):
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


class Head(nn.Module):
    """Minibatch standard deviation, a convolution and two dense layers: (N, C, 4, 4) → (N,)."""

    def __init__(self, num_channels: int, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.conv = EqualisedConv(num_channels + (1 if group_size else 0), num_channels, 3)
        self.dense = EqualisedLinear(num_channels * 16, num_channels)
        self.out = EqualisedLinear(num_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float32."""
        if self.group_size:
            x = torch.cat([x, spread_in_groups(x, self.group_size)], dim=1)
        x = leaky_relu(self.conv(x))
        logits = self.out(leaky_relu(self.dense(x.flatten(1))))[:, 0]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def spread_in_groups(x: Tensor, group_size: int) -> Tensor:
    """One map (N, 1, H, W): the standard deviation within groups of the batch, averaged over channels and places.

    Sample n belongs to group n mod (N / size), so that the groups don't depend on how many devices share the batch's
    order. A batch that `group_size` doesn't divide is one group.
    """
    num = len(x)
    size = group_size if num % group_size == 0 else num
    groups = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(size, num // size, *x.shape[1:])
    spread = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # (N / size,)
    return spread.repeat(size).reshape(num, 1, 1, 1).expand(-1, 1, *x.shape[2:]).to(x.dtype)


def make_discriminator(config: DiscriminatorConfig) -> ResidualDiscriminator | ProgressiveDiscriminator:
    """The network that a config describes."""
    return ResidualDiscriminator(config) if config.kind == "residual" else ProgressiveDiscriminator(config)
