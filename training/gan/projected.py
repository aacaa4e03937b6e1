"""A discriminator that looks through a frozen network: small heads on each of its feature maps.

It needs far fewer pictures than one that must learn to see first. What it can't tell apart are differences that the frozen
network doesn't see, so figures must come from another network.

Source: Sauer et al. 2021 (projected GANs), without their random mixing of maps; spectral norm of Miyato et al. 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.gan.frozen import Features

#: Channels of the heads; each judges regions on a grid of `_GRID`² cells at most.
_WIDTH, _GRID = 64, 3
_LEAK = 0.2


class ProjectedDiscriminator(nn.Module):
    """(N, 3, H, W) in [−1, 1] → logits (N, L), > 0 for real: one for each head and region.

    Args:
        features: the frozen network; it isn't part of this one's parameters.
        photos: (M, 3, H, W) whose features say how each channel is to be centred and scaled.
    """

    def __init__(self, features: Features, photos: Tensor) -> None:
        super().__init__()
        # In a tuple, so that it isn't registered: it is neither trained nor saved with the heads.
        self._features = (features,)
        with torch.no_grad():
            maps = [torch.cat(parts) for parts in zip(*(features(some) for some in photos.split(16)), strict=True)]
        self.heads = nn.ModuleList(Head(seen) for seen in maps)

    def forward(self, images: Tensor, *, level: float | None = None) -> Tensor:
        """Logits, float32."""
        assert level is None, "only the progressive discriminator grows"
        return self.judge(self.look(images))

    def look(self, images: Tensor) -> Sequence[Tensor]:
        """The frozen network's maps of pictures; gradients pass through."""
        return self._features[0](images)

    def judge(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits, float32, of pictures of which the frozen network has made these maps."""
        return torch.cat([head(seen) for head, seen in zip(self.heads, maps, strict=True)], dim=1).float()


class Head(nn.Module):
    """Three convolutions under spectral norm on one standardised map, averaged over regions."""

    mean: Tensor
    scale: Tensor

    def __init__(self, seen: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", seen.mean(dim=(0, 2, 3)))
        self.register_buffer("scale", seen.std(dim=(0, 2, 3)).clamp_min(1e-3))
        self.mix = spectral_norm(nn.Conv2d(seen.shape[1], _WIDTH, 1))
        self.look = spectral_norm(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1))
        self.judge = spectral_norm(nn.Conv2d(_WIDTH, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) → (N, regions)."""
        x = (x - self.mean[:, None, None]) / self.scale[:, None, None]
        x = F.leaky_relu(self.look(F.leaky_relu(self.mix(x), _LEAK)), _LEAK)
        return F.adaptive_avg_pool2d(self.judge(x), min(_GRID, x.shape[-1])).flatten(1)
