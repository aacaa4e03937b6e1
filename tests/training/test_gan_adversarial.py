"""Discriminators, the adversarial losses, growth and the moving average."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from training.gan import adversarial
from training.gan.discriminator import DiscriminatorConfig, Down, make_discriminator, spread_in_groups


def discriminator(kind: str, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    return make_discriminator(
        DiscriminatorConfig(kind=kind, size_px=32, channel_base=256, channel_max=16, **changes)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("kind", ["residual", "progressive"])
def test_logits_of_any_batch(kind: str) -> None:
    net = discriminator(kind, **({"attention_at": (16,)} if kind == "residual" else {}))
    assert net(torch.randn(6, 3, 32, 32)).shape == (6,)
    net(torch.randn(4, 3, 32, 32)).sum().backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None]
    assert all(".from_rgb" in name or name.startswith("from_rgb_4") for name in unused)


def test_minibatch_spread_by_hand() -> None:
    """Groups {0, 2} and {1, 3}: standard deviations 1 and 0; it tells a collapsed group from a varied one."""
    x = torch.tensor([1.0, 5.0, 3.0, 5.0]).reshape(4, 1, 1, 1).expand(4, 2, 3, 3)
    assert torch.allclose(spread_in_groups(x, 2)[:, 0, 0, 0], torch.tensor([1.0, 0.0, 1.0, 0.0]), atol=1e-3)


def test_down_keeps_constants() -> None:
    """Halving a constant picture keeps its interior constant: the filter has sum 1 and no checkerboard."""
    for size in (1, 3):
        down = Down(1, 1, size, bias=False)
        with torch.no_grad():
            down.weight.fill_(1.0 / (down._gain * size * size))
        out = down(torch.ones(1, 1, 16, 16))
        assert out.shape[-1] == 8
        assert torch.allclose(out[..., 2:-2, 2:-2], torch.ones(1, 1, 4, 4), atol=1e-6)


def test_progressive_growth_is_continuous() -> None:
    """Just after a resolution starts to fade in, D judges a picture as it judged its halved version."""
    net = discriminator("progressive")
    x = torch.randn(4, 3, 32, 32)
    old = net(F.avg_pool2d(x, 2), level=4.0)
    assert torch.allclose(net(x, level=4 + 1e-7), old, atol=1e-4)
    assert torch.allclose(net(x, level=5 - 1e-7), net(x, level=5.0), atol=1e-4)
    assert net(torch.randn(4, 3, 8, 8), level=2.5).shape == (4,)


def test_losses_by_hand() -> None:
    zero = torch.zeros(3)
    assert adversarial.generator_loss(zero).item() == pytest.approx(math.log(2))
    assert adversarial.discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert adversarial.discriminator_loss(zero + 9, zero - 9).item() < 1e-3
    assert adversarial.generator_loss(zero - 9).item() == pytest.approx(9.0, abs=1e-3)


def test_r1_by_hand() -> None:
    """D(x) = 3 Σ x over 2×2×3 pixels has squared gradient 9 · 12 everywhere: γ/2 times that."""
    penalty = adversarial.r1_penalty(lambda x: 3 * x.sum(dim=(1, 2, 3)), torch.randn(5, 3, 2, 2), gamma=10.0)
    assert penalty.item() == pytest.approx(5 * 108)


def test_r1_has_the_right_gradient_in_the_discriminator() -> None:
    """Its second-order gradient equals a finite difference, in double precision."""
    net = discriminator("residual").double()
    real = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    adversarial.r1_penalty(net, real, gamma=10.0).backward()
    weight, step, values = net.head.dense.weight, 1e-4, []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0] += sign * step
        values.append(adversarial.r1_penalty(net, real, gamma=10.0).item())
        with torch.no_grad():
            weight[0, 0] -= sign * step
    assert weight.grad[0, 0].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4)


def test_schedule_of_the_paper() -> None:
    """600 k images at 8², 600 k fading 16² in, and so on; 256² is there, whole, after 5 · 1.2 M images."""
    growth = adversarial.Growth()
    assert growth.level(0, 256) == 3
    assert growth.level(600_000, 256) == 3
    assert growth.level(900_000, 256) == 3.5
    assert growth.level(1_200_000, 256) == 4
    assert growth.level(5_999_999, 256) < 8 <= growth.level(6_000_000, 256)
    assert growth.level(20_000_000, 256) == 8


def test_real_pictures_fade_like_generated_ones() -> None:
    x = torch.randn(1, 3, 16, 16)
    halved = F.avg_pool2d(x, 2)
    assert torch.equal(adversarial.real_at_level(x, 3.0), halved)
    start = adversarial.real_at_level(x, 3 + 1e-9)
    assert torch.allclose(start, F.interpolate(halved, scale_factor=2))
    assert torch.equal(adversarial.real_at_level(x, 4.0), x)
    assert adversarial.real_at_level(x, None) is x


def test_average_halves_its_distance_in_a_half_life() -> None:
    average, network = nn.Linear(2, 2), nn.Linear(2, 2)
    network.register_buffer("constant", torch.ones(1))
    average.register_buffer("constant", torch.zeros(1))
    before = network.weight.detach() - average.weight.detach()
    for _ in range(4):
        adversarial.update_average(average, network, num_images=25, half_life_images=100)
    assert torch.allclose(network.weight - average.weight, before / 2, atol=1e-6)
    assert average.constant.item() == 1
