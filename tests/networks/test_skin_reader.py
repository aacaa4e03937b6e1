"""Light and skin off a face's colours: on a sphere of known albedo the light is found, hidden points or not."""

from __future__ import annotations

import torch
from torch import Tensor

from synthface.factors import lighting
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from synthface.networks.points import Points
from synthface.networks.skin_reader import Anatomy, SkinReader, SkinReaderConfig, farthest_points
from tests.toy import sphere_basis

BASIS = sphere_basis()
NUM = BASIS.num_shape + len(BASIS.expression_names)
#: Mean and spread of the lights in the tests: what they have in common, and what they differ in.
LIGHT = (torch.tensor(([0.5] + [0.0] * 8) * 3), torch.full((27,), 0.25))


def reader(corrects: bool = False) -> SkinReader:
    """A reader of 60 points; its small network says nothing unless asked to."""
    torch.manual_seed(0)
    chosen = farthest_points(torch.from_numpy(BASIS.mean_shape), 60)
    points = Points.of(BASIS, chosen.numpy())
    normals = torch.nn.functional.normalize(points.mean, dim=-1)
    albedo = torch.from_numpy(BASIS.mean_albedo)[chosen]
    anatomy = Anatomy(points.mean, points.linear, normals, albedo, torch.ones(60))
    network = SkinReader(SkinReaderConfig(60, 8), anatomy, BASIS.num_albedo)
    if not corrects:
        torch.nn.init.zeros_(network.correct[-1].weight)
        torch.nn.init.zeros_(network.correct[-1].bias)
    return network


def factors(num: int) -> Factors:
    """Spheres of the mean albedo, lit from the side, more or less from above."""
    azimuth, elevation = torch.linspace(-70, 70, num).numpy(), torch.linspace(-30, 60, num).numpy()
    sh = lighting.ambient(0.3 * torch.ones(num).numpy()) + lighting.directional(
        azimuth, elevation, 0.6 * torch.ones(num).numpy(), 6500.0
    )
    zeros = torch.zeros
    return Factors(
        zeros(num, BASIS.num_shape),
        zeros(num, BASIS.num_albedo),
        zeros(num, len(BASIS.expression_names)),
        torch.from_numpy(sh).float(),
        zeros(num, 3),
    )


def picture(true: Factors) -> Tensor:
    with torch.no_grad():
        return render(MorphableModel(BASIS), true, 64).image


def light_error_deg(found: Tensor, true: Tensor) -> Tensor:
    angles = (lighting.dominant_direction(sh.detach().double().numpy()) for sh in (found, true))
    towards = [torch.from_numpy(lighting.direction(*both.T)) for both in angles]
    return torch.rad2deg(torch.arccos((towards[0] * towards[1]).sum(dim=1).clamp(-1, 1)))


def read(network: SkinReader, images: Tensor, true: Factors) -> Tensor:
    """(N, 3, 9) the light found where shape, pose and view are known."""
    numbers = network(images, torch.zeros(len(images), NUM), true.pose_rad, torch.zeros(len(images), 3), LIGHT)
    return (LIGHT[0] + LIGHT[1] * numbers[:, BASIS.num_albedo :]).reshape(-1, 3, 9)


def test_the_light_on_a_known_albedo_is_found() -> None:
    true = factors(6)
    error = light_error_deg(read(reader(), picture(true), true), true.sh)
    assert error.max() < 20, error


def test_what_the_light_cant_explain_counts_for_little() -> None:
    """A dark bar across the face."""
    true = factors(6)
    images = picture(true)
    images[:, :, 16:19] = -1.0
    error = light_error_deg(read(reader(), images, true), true.sh)
    assert error.mean() < 20, error


def test_gradients_reach_the_picture_but_not_the_geometry() -> None:
    true, network = factors(2), reader(corrects=True)
    images = picture(true).requires_grad_(True)
    coefficients = torch.zeros(2, NUM, requires_grad=True)
    network(images, coefficients, true.pose_rad, torch.zeros(2, 3), LIGHT).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(dim=1) > 0).all()
    assert coefficients.grad is None


def test_a_picture_is_read_the_same_in_any_company() -> None:
    true, network = factors(4), reader(corrects=True)
    images = picture(true)
    together = read(network, images, true)
    alone = torch.cat([read(network, images[n : n + 1], Factors(*(v[n : n + 1] for v in true))) for n in range(4)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_farthest_points_are_spread() -> None:
    points = torch.from_numpy(BASIS.mean_shape)
    chosen = points[farthest_points(points, 12)]
    apart = torch.cdist(chosen, chosen) + 9 * torch.eye(12)
    assert apart.min() > 0.6 * torch.cdist(points, chosen).min(dim=1).values.max()
