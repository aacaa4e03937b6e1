"""Both synthesis networks against slow clear twins, and what a picture may depend on."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from synthface.networks import attention
from synthface.networks.layers import binomial_kernel, filter_channels
from synthface.networks.noise import noise_maps, random_noise_maps
from synthface.networks.synthesis import AdainSynthesis, ModulatedConv, ModulatedSynthesis, SynthesisConfig

STYLES = ("modulated", "adain")


def config(style: str, size_px: int = 32, **changes: object) -> SynthesisConfig:
    return SynthesisConfig(style=style, size_px=size_px, w_dim=16, channel_base=256, channel_max=16, **changes)  # type: ignore[arg-type]


def network(style: str, **changes: object) -> ModulatedSynthesis | AdainSynthesis:
    torch.manual_seed(0)
    made = config(style, **changes)
    net = ModulatedSynthesis(made) if style == "modulated" else AdainSynthesis(made)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(0.3)
    return net


def inputs(net: ModulatedSynthesis | AdainSynthesis, num: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    ws = torch.randn(num, net.config.num_ws, net.config.w_dim, generator=generator)
    return ws, random_noise_maps(num, net.config.noise_resolutions, generator=generator)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_equals_per_sample_weights(up: bool, demodulate: bool) -> None:
    """Scaling input and output is the same as giving each sample its own, normalised weights. Double precision."""
    torch.manual_seed(0)
    conv = ModulatedConv(5, 7, 3, 6, up=up, demodulate=demodulate).double()
    x, w = torch.randn(3, 5, 8, 8).double(), torch.randn(3, 6).double()
    for n in range(3):
        style = conv.style(w[n : n + 1])[0]
        weight = conv.weight * conv._gain * style[None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            spread = torch.zeros(1, 5, 16, 16).double()
            spread[:, :, ::2, ::2] = x[n : n + 1]
            slow = F.conv2d(F.pad(spread, (2, 1, 2, 1)), weight.flip(2, 3))
            slow = filter_channels(slow, binomial_kernel(4).double() * 4, (1, 1, 1, 1))
        else:
            slow = F.conv2d(x[n : n + 1], weight, padding=1)
        assert torch.allclose(conv(x, w)[n : n + 1], slow, atol=1e-10)


def test_demodulation_keeps_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    conv = ModulatedConv(64, 64, 3, 8)
    x = torch.randn(8, 64, 16, 16)
    out = conv(x, torch.randn(8, 8) * 5)
    assert torch.allclose(out[..., 1:-1, 1:-1].var(dim=(1, 2, 3)), torch.ones(8), atol=0.15)


@pytest.mark.parametrize("style", STYLES)
def test_shapes_and_number_of_layers(style: str) -> None:
    """At 256² there are 14 styles, as in the paper; noise maps are asked for at the right sizes."""
    assert config(style, size_px=256).num_ws == 14
    net = network(style)
    ws, maps = inputs(net, 2)
    assert [m.shape[-1] for m in maps] == ([4] if style == "modulated" else [4, 4]) + [8, 8, 16, 16, 32, 32]
    assert net(ws, maps).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_and_noise_map_reaches_the_picture(style: str) -> None:
    net = network(style)
    ws, maps = inputs(net, 1)
    before = net(ws, maps)
    for layer in range(net.config.num_ws):
        other = ws.clone()
        other[:, layer] += 1.0
        assert not torch.allclose(net(other, maps), before, atol=1e-5), f"style {layer}"
    for number in range(len(maps)):
        other_maps = [m + torch.randn_like(m) * (k == number) for k, m in enumerate(maps)]
        assert not torch.allclose(net(ws, other_maps), before, atol=1e-5), f"noise {number}"


@pytest.mark.parametrize("style", STYLES)
def test_samples_do_not_influence_one_another(style: str) -> None:
    net = network(style)
    ws, maps = inputs(net, 3)
    alone = net(ws[1:2], [m[1:2] for m in maps])
    assert torch.allclose(net(ws, maps)[1:2], alone, atol=1e-5)


def test_growth_is_continuous() -> None:
    """Just after a new resolution starts to fade in, the picture is the old one doubled; at the end it is the new one."""
    net = network("adain")
    ws, maps = inputs(net, 2)
    old = net(ws, maps, level=4)
    assert old.shape[-1] == 16
    start = net(ws, maps, level=4 + 1e-6)
    assert torch.allclose(start, F.interpolate(old, scale_factor=2), atol=1e-4)
    assert torch.allclose(net(ws, maps, level=5 - 1e-6), net(ws, maps, level=5), atol=1e-4)
    half = net(ws, maps, level=4.5)
    assert torch.allclose(half, (F.interpolate(old, scale_factor=2) + net(ws, maps, level=5)) / 2, atol=1e-5)


def test_adain_features_take_scale_and_shift_from_the_style() -> None:
    """After a layer each channel has the mean and spread that its style says."""
    net = network("adain")
    layer = net.blocks[1].first
    torch.manual_seed(5)
    x, w = torch.randn(2, 16, 8, 8) * 3 + 1, torch.randn(2, 16)
    out = layer(x, w, None)
    scale, shift = layer.style(w).chunk(2, dim=1)
    assert torch.allclose(out.mean(dim=(2, 3)), shift, atol=1e-4)
    assert torch.allclose(out.std(dim=(2, 3), unbiased=False), (scale + 1).abs(), atol=1e-3)


def test_noise_maps_belong_to_the_sample() -> None:
    """The same ε gives the same maps in any batch; another ε gives others; more resolutions leave the first as they were."""
    noise = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    maps = noise_maps(noise, (4, 8, 8))
    alone = noise_maps(noise[1:2], (4, 8, 8, 16))
    for k in range(3):
        assert torch.equal(maps[k][1:2], alone[k])
    assert not torch.equal(maps[2][0], maps[2][1])
    assert not torch.equal(maps[1], maps[2]), "two maps of one size must differ"


def test_noise_maps_are_standard_normal() -> None:
    values = torch.cat([m.flatten() for m in noise_maps(np.arange(8, dtype=np.float32)[:, None], (64, 64))])
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs((values > 1.0).float().mean() - 0.15866) < 0.004


@pytest.fixture
def fake_xformers(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A package with xFormers' documented layout, (N, L, heads, d), computed the slow clear way."""
    ops = types.ModuleType("xformers.ops")
    ops.calls = 0  # type: ignore[attr-defined]

    def memory_efficient_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        ops.calls += 1  # type: ignore[attr-defined]
        weights = torch.einsum("nlhd,nmhd->nhlm", q, k) / q.shape[-1] ** 0.5
        return torch.einsum("nhlm,nmhd->nlhd", weights.softmax(dim=-1), v)

    ops.memory_efficient_attention = memory_efficient_attention  # type: ignore[attr-defined]
    package = types.ModuleType("xformers")
    package.ops = ops  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    attention.xformers_attention.cache_clear()
    yield ops
    attention.xformers_attention.cache_clear()


def test_attention_gives_the_same_with_either_kernel(fake_xformers: types.ModuleType) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 10, 4, 8).unbind(0)
    kernel = attention.xformers_attention()
    assert kernel is not None
    assert torch.allclose(attention.attend(q, k, v), kernel(q, k, v), atol=1e-5)
    assert fake_xformers.calls == 1, "on CPU torch's own attention is used"


def test_attention_starts_as_the_identity_and_mixes_pixels_once_its_gain_grows() -> None:
    net = network("modulated", attention_at=(8,))
    block = net.blocks[1].attention
    torch.manual_seed(0)
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(block(x), x)
    with torch.no_grad():
        block.gain.fill_(1.0)
    other = x.clone()
    other[..., 0, 0] += 1.0
    assert not torch.allclose(block(other)[..., 3, 3], block(x)[..., 3, 3], atol=1e-6)
    ws, maps = inputs(net, 2)
    net(ws, maps).square().mean().backward()
    assert block.to_qkv.weight.grad is not None
