"""The warm start's encoder: what of a photo λ doesn't say, as a code."""

from __future__ import annotations

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from synthface.networks.layers import EqualisedConv, EqualisedLinear, leaky_relu

#: Photos are brought to this size first: a code of a few dozen numbers holds no finer detail.
SIZE_PX = 64


class Encoder(nn.Module):
    """Photos to the mean and log variance of their code.

    Args:
        num_code: length of ε.
        num_channels: of the first layer; doubled at each halving up to eight times.
        size_px: of the photos.
    """

    def __init__(self, num_code: int, *, num_channels: int, size_px: int) -> None:
        super().__init__()
        self.size_px = min(size_px, SIZE_PX)
        num_halvings = int(math.log2(self.size_px)) - 2
        widths = [num_channels * min(2**k, 8) for k in range(num_halvings + 1)]
        self.from_rgb = EqualisedConv(3, widths[0], 3)
        self.convs = nn.ModuleList(EqualisedConv(a, b, 3) for a, b in pairwise(widths))
        self.dense = EqualisedLinear(widths[-1] * 16, 2 * num_code)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (N, num_code) for photos (N, 3, H, W)."""
        x = leaky_relu(self.from_rgb(F.adaptive_avg_pool2d(images, self.size_px)))
        for conv in self.convs:
            x = leaky_relu(F.avg_pool2d(conv(x), 2))
        mean, log_variance = self.dense(x.flatten(1)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-8.0, 4.0)
