"""Layers with an equalised learning rate: weights are stored at unit variance and scaled when used.

Source: Karras et al. 2018 (progressive growing), Sec. 4.1; the gain √2 after a leaky ReLU keeps the variance at 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2 and gain √2."""
    return F.leaky_relu(x, LEAK) * math.sqrt(2.0)


class EqualisedLinear(nn.Module):
    """A linear layer with an equalised learning rate.

    Args:
        num_in, num_out: widths.
        bias: what the bias starts at.
        lr_multiplier: how much slower than the rest this layer learns (0.01 in the mapping network).
    """

    def __init__(self, num_in: int, num_out: int, *, bias: float = 0.0, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_out, num_in) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((num_out,), bias / lr_multiplier))
        self._weight_gain = lr_multiplier / math.sqrt(num_in)
        self._bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in) → (N, num_out)."""
        return F.linear(x, self.weight * self._weight_gain, self.bias * self._bias_gain)


class EqualisedConv(nn.Module):
    """A stride-1 convolution with an equalised learning rate and padding that keeps the size."""

    def __init__(self, num_in: int, num_out: int, size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_out, num_in, size, size))
        self.bias = nn.Parameter(torch.zeros(num_out)) if bias else None
        self._gain = 1.0 / math.sqrt(num_in * size * size)
        self._padding = size // 2

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_in, H, W) → (N, num_out, H, W)."""
        return F.conv2d(x, self.weight * self._gain, self.bias, padding=self._padding)


def binomial_kernel(num_taps: int) -> Tensor:
    """The separable low-pass filter [1, 2, 1] or [1, 3, 3, 1] as a (taps, taps) kernel of sum 1."""
    row = torch.tensor([float(math.comb(num_taps - 1, k)) for k in range(num_taps)])
    row = row / row.sum()
    return row[:, None] * row[None, :]


def filter_channels(x: Tensor, kernel: Tensor, padding: tuple[int, int, int, int], *, stride: int = 1) -> Tensor:
    """Filter every channel of (N, C, H, W) with one kernel, after zero padding (left, right, top, bottom)."""
    num_channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(num_channels, 1, *kernel.shape)
    return F.conv2d(F.pad(x, padding), weight, stride=stride, groups=num_channels)
