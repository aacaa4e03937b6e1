"""Backbones have the published layers, heads the published losses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from recipes.recognition.heads import Head, HeadSettings, arcface, cosface
from recipes.recognition.networks import ARCHITECTURES, NetworkSettings, load_network, make_network, save_network
from synthface.errors import GeneratorError


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("size_px", [32, 40])
def test_every_backbone_describes_crops_of_any_size(name: str, size_px: int) -> None:
    torch.manual_seed(0)
    network = make_network(NetworkSettings(name, size_px, 0.0625, 16))  # type: ignore[arg-type]
    descriptors = network(torch.rand(3, 3, size_px, size_px))
    assert descriptors.shape == (3, 16)
    descriptors.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_the_full_networks_have_as_many_weights_as_published() -> None:
    """IR-50 about 43.6 million (InsightFace's r50), MobileFaceNet about 0.99 million (Chen et al. 2018)."""
    descriptors = {"mobilefacenet": 128}
    sizes = {}
    for name in ARCHITECTURES:
        network = make_network(NetworkSettings(name, descriptor_size=descriptors.get(name, 512)))  # type: ignore[arg-type]
        sizes[name] = sum(p.numel() for p in network.parameters())
    assert 43.4e6 < sizes["ir50"] < 43.8e6
    assert 23.8e6 < sizes["ir18"] < 24.2e6
    assert 0.97e6 < sizes["mobilefacenet"] < 1.02e6


def test_a_saved_network_gives_the_same_descriptors(tmp_path: Path) -> None:
    network = make_network(NetworkSettings("mobilefacenet", 32, 0.0625, 8))
    network(torch.rand(4, 3, 32, 32))  # so that the running statistics are no longer the initial ones
    save_network(tmp_path, network, note="test")
    loaded, x = load_network(tmp_path), torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(x), network.eval()(x))
    assert not any(p.requires_grad for p in loaded.parameters())
    weights = tmp_path / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(GeneratorError, match="SHA-256"):
        load_network(tmp_path)


def test_margins_are_the_papers() -> None:
    angles = torch.linspace(0.05, 2.4, 20, dtype=torch.float64)
    assert torch.allclose(arcface(angles.cos(), 0.5), (angles + 0.5).cos())
    assert torch.allclose(cosface(angles.cos(), 0.35), angles.cos() - 0.35)


def test_arcface_never_rises_with_the_angle() -> None:
    angles = torch.linspace(0, math.pi, 400, dtype=torch.float64)
    assert (arcface(angles.cos(), 0.5).diff() <= 1e-9).all()


def test_a_head_punishes_only_the_own_direction_and_keeps_float32() -> None:
    torch.manual_seed(0)
    head = Head(HeadSettings("cosface", scale=10, margin=0.3), 4, 3)
    x, identities = torch.randn(5, 4, dtype=torch.bfloat16), torch.tensor([0, 1, 2, 0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        loss, accuracy = head(x, identities)
    assert loss.dtype == torch.float32
    unit = torch.nn.functional.normalize
    cosines = unit(x.float()) @ unit(head.directions.detach()).T
    slow = 0.0
    for row, own in zip(cosines, identities, strict=True):
        logits = 10 * torch.stack([c - 0.3 * (n == int(own)) for n, c in enumerate(row)])
        slow -= float(logits.log_softmax(0)[own]) / 5
    assert loss.item() == pytest.approx(slow, rel=1e-5)
    assert float(accuracy) == float((cosines.argmax(1) == identities).float().mean())


def test_gradients_are_finite_where_a_face_is_its_own_direction() -> None:
    head = Head(HeadSettings("arcface"), 2, 2)
    with torch.no_grad():
        head.directions.copy_(torch.eye(2))
    x = torch.tensor([[1.0, 0.0], [0.0, -1.0]], requires_grad=True)
    head(x, torch.tensor([0, 1]))[0].backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
