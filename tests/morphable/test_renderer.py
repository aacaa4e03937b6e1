"""The renderer: projection, coverage, gradients and shading, each against something slower or exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthface.factors import lighting as lights
from synthface.factors import pose as poses
from synthface.factors.types import FactorBatch
from synthface.morphable import camera
from synthface.morphable import lighting as torch_lighting
from synthface.morphable import model as models
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.rasterizer import interpolate, rasterize
from synthface.morphable.render import render
from tests.toy import sphere_basis


def cross(u: np.ndarray, v: np.ndarray) -> float:
    return u[0] * v[1] - u[1] * v[0]


def naive_rasterize(clip: torch.Tensor, faces: torch.Tensor, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """One pixel, one triangle at a time."""
    vertices, triangles = clip.double().numpy(), faces.numpy()
    face_idx, depth = np.full((height, width), -1), np.full((height, width), np.inf)
    for row in range(height):
        for column in range(width):
            p = np.array([(column + 0.5) * 2 / width - 1, 1 - (row + 0.5) * 2 / height])
            for number, triangle in enumerate(triangles):
                w = vertices[triangle, 3]
                if (w <= 0).any():
                    continue
                a, b, c = vertices[triangle, :2] / w[:, None]
                area = cross(b - a, c - a)
                if area <= 0:
                    continue
                weights = np.array([cross(b - p, c - p), cross(c - p, a - p), cross(a - p, b - p)]) / area
                if (weights < 0).any():
                    continue
                z = 1 / (weights / w).sum()
                if z < depth[row, column]:
                    face_idx[row, column], depth[row, column] = number, z
    return face_idx, depth


@pytest.fixture(scope="module")
def sphere() -> MorphableModel:
    return MorphableModel(sphere_basis(1))


def scene(model: MorphableModel, **changes: np.ndarray) -> Factors:
    batch = FactorBatch.neutral(model.basis.layout(), 1)
    for name, value in changes.items():
        getattr(batch, name)[:] = value
    return Factors.of(batch)


def test_a_point_on_the_axis_is_in_the_middle_and_directions_are_as_said() -> None:
    points = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    centre, right, up = camera.to_pixels(points, 256)
    assert torch.allclose(centre, torch.tensor([128.0, 128.0]))
    assert right[0] > 128
    assert up[1] < 128
    assert math.isclose(float(right[0]) - 128, 0.5 * camera.focal_px(256) / 10, rel_tol=1e-6)
    assert math.isclose(camera.VERTICAL_FOV_DEG, 11.80, abs_tol=0.01)


def test_coverage_and_depth_equal_a_naive_loop(sphere: MorphableModel) -> None:
    mesh = sphere(scene(sphere, pose_rad=[0.3, 0.5, -0.2], shape=1.0))
    clip = camera.project(mesh.vertices)
    fragments = rasterize(clip, sphere.faces, 24, 20)
    face_idx, depth = naive_rasterize(clip[0], sphere.faces, 24, 20)
    same = fragments.face_idx[0].numpy() == face_idx
    assert same.mean() > 0.995  # a pixel centre on a shared edge may fall to either side by rounding
    assert (face_idx >= 0).sum() > 100
    np.testing.assert_allclose(fragments.zbuf[0].numpy()[same], depth[same], rtol=1e-5)


def test_a_triangle_behind_or_seen_from_behind_is_left_out() -> None:
    near = torch.tensor([[[-1.0, -1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]])
    front, back = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    assert (rasterize(near, front, 8, 8).face_idx >= 0).any()
    assert not (rasterize(near, back, 8, 8).face_idx >= 0).any()
    assert (rasterize(near, back, 8, 8, cull=False).face_idx >= 0).any()
    behind = near.clone()
    behind[..., 3] = -1.0
    assert not (rasterize(behind, front, 8, 8, cull=False).face_idx >= 0).any()


def test_a_sample_is_the_same_in_any_batch(sphere: MorphableModel) -> None:
    batch = FactorBatch.neutral(sphere.basis.layout(), 3)
    batch.shape[:] = np.random.default_rng(0).normal(size=batch.shape.shape)
    clip = camera.project(sphere(Factors.of(batch)).vertices)
    whole = rasterize(clip, sphere.faces, 32, 32)
    alone = rasterize(clip[1:2], sphere.faces, 32, 32)
    assert torch.equal(whole.face_idx[1:2], alone.face_idx)


def test_interpolating_positions_gives_back_the_pixel(sphere: MorphableModel) -> None:
    mesh = sphere(scene(sphere, pose_rad=[0.1, 0.2, 0.0]))
    clip = camera.project(mesh.vertices)
    fragments = rasterize(clip, sphere.faces, 32, 32)
    points = interpolate(fragments, clip, sphere.faces, mesh.vertices)[0]
    row, column = torch.nonzero(fragments.face_idx[0] >= 0, as_tuple=True)
    pixels = camera.to_pixels(points[row, column], 32)
    expected = torch.stack([column + 0.5, row + 0.5], dim=1)
    assert (pixels - expected).abs().max() < 1e-3


def test_gradients_of_colour_and_geometry_are_right() -> None:
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
    vertices = torch.tensor(
        [[-0.7, -0.6, 0.1], [0.7, -0.5, 0.0], [-0.6, 0.7, 0.2], [0.6, 0.6, -0.3]], dtype=torch.float64
    )[None]
    colours = torch.rand(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fragments = rasterize(camera.project(vertices), faces, 6, 6)
    assert (fragments.face_idx >= 0).sum() > 10

    def picture(v: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return interpolate(fragments, camera.project(v), faces, c)

    inputs = (vertices.requires_grad_(), colours.requires_grad_())
    assert torch.autograd.gradcheck(picture, inputs, eps=1e-6, atol=1e-6)


def test_the_whole_renderer_is_differentiable(sphere: MorphableModel) -> None:
    model = MorphableModel(sphere.basis).double()
    factors = [torch.as_tensor(t).double().requires_grad_() for t in scene(model, shape=0.5, expression=0.3)]
    light = torch.as_tensor(lights.ambient(0.3) + lights.directional(20.0, 30.0, 0.6))[None]

    def mean_colour(shape: torch.Tensor, albedo: torch.Tensor) -> torch.Tensor:
        values = Factors(shape, albedo, factors[2].detach(), light, factors[4].detach())
        return render(model, values, 12).image[:, :, 4:8, 4:8]

    # The covered triangles don't change within the small step: only then is there a derivative to compare with.
    assert torch.autograd.gradcheck(mean_colour, (factors[0], factors[1]), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("band", range(9))
def test_each_sh_band_shades_like_numerical_integration(band: int) -> None:
    """∫ L(ω) max(n·ω, 0) dω over the sphere, for L = Y_k, equals a_k Y_k(n)."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(12, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    z = (np.arange(400) + 0.5) / 200 - 1
    turn = (np.arange(400) + 0.5) * np.pi / 200
    around = np.sqrt(1 - z**2)
    directions = np.stack(
        [np.outer(around, np.cos(turn)), np.outer(around, np.sin(turn)), np.outer(z, np.ones(400))], axis=-1
    ).reshape(-1, 3)
    solid_angle = 4 * np.pi / len(directions)
    radiance = lights.sh_basis(directions)[:, band]
    irradiance = (np.maximum(normals @ directions.T, 0) * radiance).sum(axis=1) * solid_angle
    sh = np.zeros((3, 9))
    sh[:, band] = 1.0
    shaded = torch_lighting.shading(torch.as_tensor(normals)[None], torch.as_tensor(sh)[None])[0].numpy()
    np.testing.assert_allclose(shaded[:, 0], irradiance, atol=2e-4)


def test_torch_twins_agree_with_numpy() -> None:
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.testing.assert_allclose(
        torch_lighting.sh_basis(torch.as_tensor(normals)).numpy(), lights.sh_basis(normals), atol=1e-12
    )
    angles = rng.uniform(-1, 1, (20, 3))
    np.testing.assert_allclose(
        models.rotation_matrix(torch.as_tensor(angles)).numpy(), poses.rotation_matrix(angles), atol=1e-12
    )


def test_srgb_is_its_own_inverse_and_its_gradient_is_finite() -> None:
    values = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    encoded = torch_lighting.linear_to_srgb(values)
    torch.testing.assert_close(torch_lighting.srgb_to_linear(encoded), values)
    encoded.sum().backward()
    assert torch.isfinite(values.grad).all()


def test_a_sphere_under_ambient_light_shows_its_albedo(sphere: MorphableModel) -> None:
    rendered = render(sphere, scene(sphere), 32)
    colour = torch_lighting.srgb_to_linear((rendered.image[0, :, 16, 16] + 1) / 2)
    torch.testing.assert_close(colour, torch.full((3,), 0.5), atol=1e-4, rtol=0)


def test_normals_of_a_sphere_point_outwards(sphere: MorphableModel) -> None:
    model = MorphableModel(sphere_basis(3))
    mesh = model(scene(model))
    outward = torch.nn.functional.normalize(mesh.vertices, dim=-1)
    assert ((mesh.normals * outward).sum(-1) > 0.999).all()


def test_pytorch3d_agrees_where_it_is_installed(sphere: MorphableModel) -> None:
    from synthface.morphable import rasterizer_pytorch3d

    if not rasterizer_pytorch3d.is_available():
        pytest.skip("PyTorch3D isn't installed")
    clip = camera.project(sphere(scene(sphere, pose_rad=[0.2, 0.4, 0.1])).vertices)
    ours = rasterize(clip, sphere.faces, 64, 64)
    theirs = rasterize(clip, sphere.faces, 64, 64, backend="pytorch3d")
    assert (ours.face_idx == theirs.face_idx).float().mean() > 0.99


def test_asking_for_pytorch3d_without_it_names_what_to_do(sphere: MorphableModel) -> None:
    from synthface.errors import MissingExtraError
    from synthface.morphable import rasterizer_pytorch3d

    if rasterizer_pytorch3d.is_available():
        pytest.skip("PyTorch3D is installed")
    clip = camera.project(sphere(scene(sphere)).vertices)
    with pytest.raises(MissingExtraError, match="pytorch3d"):
        rasterize(clip, sphere.faces, 8, 8, backend="pytorch3d")
