"""The adversarial game: non-saturating logistic losses, hinge losses, R1, growth, and the moving average of G.

Source: Goodfellow et al. 2014; Lim and Ye 2017 (hinge); Mescheder et al. 2018 (R1); Karras et al. 2018 (moving average),
2019, 2020 (lazy R1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def generator_loss(fake_logits: Tensor) -> Tensor:
    """−log σ(D(x)), mean over the batch."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−log σ(D(real)) − log(1 − σ(D(fake))), each a mean over the batch."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """−D(x), mean over the batch and D's heads."""
    return -fake_logits.mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """max(1 − D(real), 0) + max(1 + D(fake), 0), each a mean over the batch and D's heads."""
    return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()


def r1_penalty(discriminate: Callable[[Tensor], Tensor], real: Tensor, *, gamma: float) -> Tensor:
    """γ/2 · mean ‖∇ D(real)‖²; done every k-th step only, multiply it by k (lazy regularisation)."""
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminate(real).sum(), real, create_graph=True)
    return 0.5 * gamma * gradient.square().sum(dim=(1, 2, 3)).mean()


@dataclass(frozen=True)
class Growth:
    """The progressive schedule.

    Args:
        start_px: resolution to start at.
        stabilise_images, fade_images: how many images to train at each resolution, and to fade the next one in.
    """

    start_px: int = 8
    stabilise_images: int = 600_000
    fade_images: int = 600_000

    def level(self, num_images: int, size_px: int) -> float:
        """log₂ of the resolution after so many images; fractions while the next one fades in."""
        phase, within = divmod(num_images, self.stabilise_images + self.fade_images)
        fading = max(within - self.stabilise_images, 0) / self.fade_images
        return min(math.log2(self.start_px) + phase + fading, math.log2(size_px))


def real_at_level(images: Tensor, level: float | None) -> Tensor:
    """Real pictures at the resolution of a level, faded as the generator's are: half-faded detail is half as strong."""
    if level is None:
        return images
    size = 2 ** math.ceil(level)
    if images.shape[-1] > size:
        images = F.avg_pool2d(images, images.shape[-1] // size)
    share = level - math.floor(level)
    if share == 0.0:
        return images
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="nearest")
    return torch.lerp(coarse, images, share)


def update_average(average: nn.Module, network: nn.Module, *, num_images: int, half_life_images: float) -> None:
    """Move the average towards the network by a batch of `num_images`; buffers are copied."""
    decay = 0.5 ** (num_images / half_life_images) if half_life_images > 0 else 0.0
    with torch.no_grad():
        averaged = list(average.parameters())
        torch._foreach_lerp_(averaged, list(network.parameters()), 1.0 - decay)
        for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
