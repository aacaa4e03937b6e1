"""W+ to picture: StyleGAN2's synthesis network, and the first StyleGAN's, which the paper trained.

Both start from a learned 4² constant and double the size with each block. Noise maps are arguments, never drawn here: a
picture depends on nothing but the weights and what is passed in.

Source: Karras et al. 2020 (StyleGAN2), Sec. 2; Karras et al. 2019 (StyleGAN), Sec. 2 and appendix C; Karras et al. 2018
(progressive growing), Sec. 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.networks.attention import SelfAttention2d
from synthface.networks.layers import EqualisedConv, EqualisedLinear, binomial_kernel, filter_channels, leaky_relu

Style = Literal["modulated", "adain"]


@dataclass(frozen=True)
class SynthesisConfig:
    """The shape of a synthesis network.

    Args:
        style: `modulated` (StyleGAN2: skip connections to RGB) or `adain` (StyleGAN: grows progressively).
        size_px: of the final picture, a power of two, ≥ 8.
        w_dim: width of W.
        channel_base, channel_max: a block at resolution r has min(channel_base / r, channel_max) channels.
        attention_at: resolutions whose block ends with self-attention.
    """

    style: Style = "modulated"
    size_px: int = 256
    w_dim: int = 512
    channel_base: int = 16384
    channel_max: int = 512
    attention_at: tuple[int, ...] = ()

    def channels(self, resolution: int) -> int:
        """Feature maps at a resolution."""
        return min(self.channel_base // resolution, self.channel_max)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, … size_px."""
        return tuple(2**k for k in range(2, int(math.log2(self.size_px)) + 1))

    @property
    def noise_resolutions(self) -> tuple[int, ...]:
        """The size of each noise map, in the order in which they are used."""
        twice = [r for r in self.resolutions for _ in range(2)]
        return tuple(twice[1:] if self.style == "modulated" else twice)

    @property
    def num_ws(self) -> int:
        """Layers that take a style of their own."""
        return 2 * len(self.resolutions)


class ModulatedConv(nn.Module):
    """A convolution whose weights each sample's style scales and, mostly, normalises.

    Written as a scaling of the input and of the output of one shared convolution, which is the same sum: per-sample weights
    would need a grouped convolution, slow on CPU and with channels-last.

    Args:
        num_in, num_out: channels.
        size: of the kernel.
        up: double the resolution, with the [1, 3, 3, 1] filter.
        demodulate: bring the expected variance of the output back to 1; off for RGB.
    """

    kernel: Tensor

    def __init__(
        self, num_in: int, num_out: int, size: int, w_dim: int, *, up: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.style = EqualisedLinear(w_dim, num_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(num_out, num_in, size, size))
        self.up, self.demodulate = up, demodulate
        self._gain = 1.0 / math.sqrt(num_in * size * size)
        self._padding = size // 2
        self.register_buffer("kernel", binomial_kernel(4) * 4.0, persistent=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, num_in, H, W) under styles (N, w_dim)."""
        style = self.style(w)
        weight = self.weight * self._gain
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = filter_channels(x, self.kernel, (1, 1, 1, 1))
        else:
            x = F.conv2d(x, weight, padding=self._padding)
        if self.demodulate:
            variance = style.square() @ weight.square().sum(dim=(2, 3)).T
            x = x * torch.rsqrt(variance + 1e-8)[:, :, None, None].to(x.dtype)
        return x


class Noise(nn.Module):
    """Adds a noise map times a learned strength: one for the layer (StyleGAN2) or one per channel (StyleGAN)."""

    def __init__(self, num_strengths: int = 1) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(num_strengths))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """(N, C, H, W) plus noise (N, 1, H, W); None is no noise."""
        if noise is None:
            return x
        return x + (noise * self.strength[:, None, None]).to(x.dtype)


class ModulatedLayer(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU."""

    def __init__(self, num_in: int, num_out: int, w_dim: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(num_in, num_out, 3, w_dim, up=up)
        self.noise = Noise()
        self.bias = nn.Parameter(torch.zeros(num_out))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """(N, num_in, H, W) → (N, num_out, H or 2H, …)."""
        x = self.noise(self.conv(x, w), noise)
        return leaky_relu(x + self.bias[:, None, None].to(x.dtype))


class ModulatedBlock(nn.Module):
    """One resolution of StyleGAN2: one layer (4²) or two, and what it adds to the picture."""

    def __init__(self, config: SynthesisConfig, resolution: int) -> None:
        super().__init__()
        num_out, w_dim = config.channels(resolution), config.w_dim
        is_first = resolution == 4
        num_in = num_out if is_first else config.channels(resolution // 2)
        self.first = None if is_first else ModulatedLayer(num_in, num_out, w_dim, up=True)
        self.second = ModulatedLayer(num_out, num_out, w_dim)
        self.attention = SelfAttention2d(num_out) if resolution in config.attention_at else None
        self.to_rgb = ModulatedConv(num_out, 3, 1, w_dim, demodulate=False)
        self.rgb_bias = nn.Parameter(torch.zeros(3))

    def forward(
        self, x: Tensor, picture: Tensor | None, ws: Sequence[Tensor], noise: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Features and the picture so far; `ws` holds a style per layer and one for RGB."""
        if self.first is not None:
            x = self.first(x, ws[0], noise[0])
        x = self.second(x, ws[-2], noise[-1])
        if self.attention is not None:
            x = self.attention(x)
        rgb = self.to_rgb(x, ws[-1]) + self.rgb_bias[:, None, None].to(x.dtype)
        if picture is None:
            return x, rgb
        # Bilinear doubling is the [1, 3, 3, 1] filter.
        return x, rgb + F.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)


class ModulatedSynthesis(nn.Module):
    """StyleGAN2's synthesis network with skip connections to RGB."""

    def __init__(self, config: SynthesisConfig) -> None:
        super().__init__()
        assert config.style == "modulated"
        self.config = config
        self.constant = nn.Parameter(torch.randn(1, config.channels(4), 4, 4))
        self.blocks = nn.ModuleList(ModulatedBlock(config, r) for r in config.resolutions)

    def forward(self, ws: Tensor, noise: Sequence[Tensor] | None, *, level: float | None = None) -> Tensor:
        """The picture (N, 3, size, size), about [−1, 1].

        Args:
            ws: (N, num_ws, w_dim).
            noise: maps (N, 1, r, r) for each r of `config.noise_resolutions`; None is no noise.
            level: must be None: this network doesn't grow.
        """
        assert level is None, "only the adain style grows"
        styles = ws.unbind(dim=1)
        maps: list[Tensor | None] = [None, *(noise if noise is not None else [None] * (len(styles) - 1))]
        x = _constant(self.constant, ws)
        picture: Tensor | None = None
        for number, block in enumerate(self.blocks):
            # A block's RGB shares its style with the next block's first layer.
            start = 2 * number - 1
            own = styles[max(start, 0) : start + 3]
            x, picture = block(x, picture, own, maps[2 * number : 2 * number + 2])
        assert picture is not None
        result: Tensor = picture.float()
        return result


class AdainLayer(nn.Module):
    """What follows each convolution in StyleGAN: noise per channel, bias, leaky ReLU, instance norm, style."""

    def __init__(self, num_channels: int, w_dim: int) -> None:
        super().__init__()
        self.noise = Noise(num_channels)
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.style = EqualisedLinear(w_dim, 2 * num_channels)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """(N, C, H, W) under styles (N, w_dim)."""
        x = self.noise(x, noise)
        x = F.leaky_relu(x + self.bias[:, None, None].to(x.dtype), 0.2) * math.sqrt(2.0)
        scale, shift = self.style(w)[:, :, None, None].to(x.dtype).chunk(2, dim=1)
        styled: Tensor = F.instance_norm(x, eps=1e-8) * (scale + 1.0) + shift
        return styled


class AdainBlock(nn.Module):
    """One resolution of StyleGAN: (double, convolve, blur), style, convolve, style; and its own RGB output."""

    kernel: Tensor

    def __init__(self, config: SynthesisConfig, resolution: int) -> None:
        super().__init__()
        num_out = config.channels(resolution)
        is_first = resolution == 4
        self.up = None if is_first else EqualisedConv(config.channels(resolution // 2), num_out, 3, bias=False)
        self.first = AdainLayer(num_out, config.w_dim)
        self.conv = EqualisedConv(num_out, num_out, 3, bias=False)
        self.second = AdainLayer(num_out, config.w_dim)
        self.attention = SelfAttention2d(num_out) if resolution in config.attention_at else None
        self.to_rgb = EqualisedConv(num_out, 3, 1)
        self.register_buffer("kernel", binomial_kernel(3), persistent=False)

    def forward(self, x: Tensor, ws: Sequence[Tensor], noise: Sequence[Tensor | None]) -> Tensor:
        """Features (N, C, H, W) of this resolution; the 4² block takes the constant."""
        if self.up is not None:
            x = self.up(F.interpolate(x, scale_factor=2, mode="nearest"))
            x = filter_channels(x, self.kernel, (1, 1, 1, 1))
        x = self.first(x, ws[0], noise[0])
        x = self.second(self.conv(x), ws[1], noise[1])
        mixed: Tensor = x if self.attention is None else self.attention(x)
        return mixed


class AdainSynthesis(nn.Module):
    """The first StyleGAN's synthesis network, grown progressively."""

    def __init__(self, config: SynthesisConfig) -> None:
        super().__init__()
        assert config.style == "adain"
        self.config = config
        self.constant = nn.Parameter(torch.ones(1, config.channels(4), 4, 4))
        self.blocks = nn.ModuleList(AdainBlock(config, r) for r in config.resolutions)

    def forward(self, ws: Tensor, noise: Sequence[Tensor] | None, *, level: float | None = None) -> Tensor:
        """The picture (N, 3, r, r), about [−1, 1].

        Args:
            ws: (N, num_ws, w_dim).
            noise: maps (N, 1, r, r) for each r of `config.noise_resolutions`; None is no noise.
            level: how far the network has grown, log₂ of the resolution: 5 draws at 32², 5.25 at 64², a quarter faded in;
                None is fully grown.
        """
        level = math.log2(self.config.size_px) if level is None else level
        maps: list[Tensor | None] = list(noise) if noise is not None else [None] * self.config.num_ws
        x = _constant(self.constant, ws)
        last = math.ceil(level) - 2
        blocks = [cast(AdainBlock, block) for block in self.blocks]
        before: Tensor | None = None
        for number in range(last + 1):
            if number == last and level < last + 2:
                before = blocks[number - 1].to_rgb(x)
            place = slice(2 * number, 2 * number + 2)
            x = blocks[number](x, ws.unbind(dim=1)[place], maps[place])
        picture: Tensor = blocks[last].to_rgb(x)
        if before is not None:
            old = F.interpolate(before, scale_factor=2, mode="nearest")
            picture = torch.lerp(old, picture, level - (last + 1))
        return picture.float()


def make_synthesis(config: SynthesisConfig) -> ModulatedSynthesis | AdainSynthesis:
    """The network that a config describes."""
    return ModulatedSynthesis(config) if config.style == "modulated" else AdainSynthesis(config)


def _constant(constant: Tensor, ws: Tensor) -> Tensor:
    dtype = torch.get_autocast_dtype(ws.device.type) if torch.is_autocast_enabled(ws.device.type) else constant.dtype
    x = constant.to(dtype).expand(len(ws), -1, -1, -1)
    return x.contiguous(memory_format=torch.channels_last)
