"""Backbones on the face mesh: aligning undoes a turn, the second look finds the same face however the picture is turned."""

from __future__ import annotations

import torch

from synthface.morphable.model import rotation_matrix
from synthface.networks.backbones import BACKBONES, BackboneConfig
from synthface.networks.trunks import NUM_LANDMARKS, LandmarkReader, align, angles

SMALL = BackboneConfig(size_px=32, stem=4, widths=(4, 6, 8, 8, 8), blocks=(1, 0, 0, 0, 1), grid=1, features=12)
POSES = torch.tensor([[0.2, -0.7, 0.3], [-0.4, 1.0, -0.5], [0.0, 0.0, 0.0]])


def test_aligning_undoes_turn_scale_and_shift() -> None:
    torch.manual_seed(0)
    template, turn = torch.randn(40, 3), rotation_matrix(POSES)
    scale, shift = torch.tensor([0.5, 2.0, 1.0]), torch.randn(3, 1, 3)
    points = scale[:, None, None] * template @ turn.transpose(1, 2) + shift
    found, size, _, aligned = align(points, template, torch.rand(40) + 0.1)
    assert torch.allclose(found, turn, atol=1e-4)
    assert torch.allclose(size, scale, atol=1e-4)
    assert torch.allclose(aligned, template.expand(3, -1, -1), atol=1e-4)


def test_aligning_never_mirrors() -> None:
    torch.manual_seed(0)
    template = torch.randn(40, 3)
    turn, _, _, _ = align((template * torch.tensor([-1.0, 1.0, 1.0]))[None], template, torch.ones(40))
    assert torch.det(turn) > 0


def test_points_of_little_trust_hardly_count() -> None:
    torch.manual_seed(0)
    template, trust = torch.randn(40, 3), torch.ones(40)
    points = template.clone()
    points[:5] += 3.0
    trust[:5] = 1e-6
    turn, _, _, _ = align(points[None], template, trust)
    assert torch.allclose(turn[0], torch.eye(3), atol=1e-3)


def test_angles_are_those_the_turn_was_made_of() -> None:
    assert torch.allclose(angles(rotation_matrix(POSES)), POSES, atol=1e-5)


def reader() -> LandmarkReader:
    torch.manual_seed(0)
    network = BACKBONES["landmarks"](SMALL)
    assert isinstance(network, LandmarkReader)
    return network.eval()


def test_what_was_seen_reads_as_the_pictures_do() -> None:
    network, images = reader(), torch.rand(5, 3, 32, 32) * 2 - 1
    network.set_units(network.seen(images))
    assert torch.equal(network.readout(network.seen(images)), network(images))
    assert network(images).shape == (5, network.num_features)


def test_units_bring_what_is_read_to_unit_spread() -> None:
    network = reader()
    landmarks = torch.randn(1, NUM_LANDMARKS, 3) + 0.05 * torch.randn(64, NUM_LANDMARKS, 3)
    seen = torch.cat([landmarks.flatten(1), torch.randn(64, 8 * 9)], dim=1)
    network.set_units(seen)
    read = (network.described(seen) - network.centre) / network.spread
    assert torch.allclose(read.mean(dim=0), torch.zeros(read.shape[1]), atol=1e-2)
    assert ((read.std(dim=0) - 1).abs() < 0.05).float().mean() > 0.99


def test_gradients_reach_the_picture_through_the_second_look() -> None:
    network, images = reader(), (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_(True)
    network.set_units(network.seen(torch.rand(6, 3, 32, 32)).detach())
    network(images).square().sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert (images.grad.flatten(1).abs().sum(dim=1) > 0).all()
