"""The flow of Eq. 6 on real meshes, crops by landmarks, and augmentations."""

from __future__ import annotations

import pytest
import torch

from synthface.morphable import camera
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.rasterizer import rasterize
from synthface.morphable.render import render
from tests.toy import sphere_basis
from training.gan import augment, crops, losses
from training.gan.flow import flow_from_vertices, resize_flow, resize_mask, valid_pixels


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel(sphere_basis(3))


def neutral(num: int = 1) -> Factors:
    sh = torch.zeros(num, 3, 9)
    sh[:, :, 0], sh[:, :, 3], sh[:, 1, 1] = 1.0, 0.4, 0.5
    return Factors(torch.zeros(num, 4), torch.zeros(num, 2), torch.zeros(num, 3), sh, torch.zeros(num, 3))


def test_flow_of_a_known_shift(model: MorphableModel) -> None:
    """The second mesh is the first, 5 % of the picture to the right and 2 % up: v = (−0.05, +0.02) on it, 0 elsewhere."""
    clip = camera.project(model(neutral()).vertices)
    moved = clip.clone()
    moved[..., 0] += 2 * 0.05 * clip[..., 3]
    moved[..., 1] += 2 * 0.02 * clip[..., 3]
    fragments = rasterize(moved, model.faces, 32, 32)
    flow = flow_from_vertices(clip, moved, fragments, model.faces)
    covered = fragments.face_idx >= 0
    assert torch.allclose(flow[covered], torch.tensor([-0.05, 0.02]), atol=1e-5)
    assert (flow[~covered] == 0).all()


def test_warping_a_rendering_gives_its_partner(model: MorphableModel) -> None:
    """x̂ warped by the flow is x̂' wherever both show the surface: under ambient light, much nearer than x̂ itself is."""
    first = neutral()
    first.sh[:, :, 1:] = 0.0
    first = first._replace(albedo=torch.tensor([[0.0, 3.0]]))
    second = first._replace(expression=torch.tensor([[0.6, 0.3, 0.0]]))
    a, b = render(model, first, 64), render(model, second, 64)
    flow = flow_from_vertices(a.clip, b.clip, b.fragments, model.faces)
    both = a.coverage * b.coverage
    # Away from the silhouette, over which the blur would carry the background.
    inside = 1 - torch.nn.functional.max_pool2d(1 - both, 9, stride=1, padding=4)
    valid = valid_pixels(a.coverage, b.coverage) * inside
    assert valid.mean() > 0.2
    warped = losses.expression_loss(a.image, b.image, flow, valid)
    plain = losses.expression_loss(a.image, b.image, torch.zeros_like(flow), valid)
    backwards = losses.expression_loss(a.image, b.image, -flow, valid)
    assert warped < 0.2 * plain
    assert warped < 0.1 * backwards


def test_pixels_that_were_face_and_are_not_any_more_are_left_out() -> None:
    first, second = torch.tensor([1.0, 1, 0, 0]), torch.tensor([1.0, 0, 1, 0])
    assert valid_pixels(first, second).tolist() == [1, 0, 1, 1]


def test_resizing_keeps_the_unit_of_a_flow() -> None:
    flow = torch.full((1, 8, 8, 2), 0.25)
    assert torch.equal(resize_flow(flow, 16), torch.full((1, 16, 16, 2), 0.25))
    assert resize_mask(torch.eye(4)[None, None], 2)[0, 0].tolist() == [[0.5, 0.0], [0.0, 0.5]]


def test_crop_puts_points_on_the_template() -> None:
    """A turned, scaled, shifted template is found, and the crop shows there what the picture showed at the points."""
    template = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    angle = torch.tensor(0.3)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    points = (0.5 * (template - 0.5) @ turn.T + torch.tensor([0.55, 0.45]))[None]
    matrix = crops.similarity(points, template)
    assert torch.allclose(points @ matrix[0, :, :2].T + matrix[0, :, 2], template[None], atol=1e-5)
    ramp = (torch.arange(64) + 0.5) / 64
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)])[None]
    crop = crops.crop_by_points(picture, points, template, 100)
    for (x, y), point in zip(template, points[0], strict=True):
        assert torch.allclose(crop[0, :, int(y * 100), int(x * 100)], point, atol=0.01)


def test_crop_passes_gradients_to_the_picture_only() -> None:
    picture, points = torch.rand(1, 3, 16, 16, requires_grad=True), torch.rand(1, 5, 2, requires_grad=True)
    crops.crop_by_points(picture, points, torch.rand(5, 2), 8).sum().backward()
    assert picture.grad is not None
    assert points.grad is None


def test_translation_moves_whole_pixels_and_fills_with_zeros() -> None:
    """Every shifted picture is found again in the padded original, at a shift within ±1/8."""
    x = torch.rand(16, 3, 16, 16) + 0.1
    out = augment.translation(x, torch.Generator().manual_seed(0))
    shifts = set()
    for n in range(16):
        found = [
            (dx, dy)
            for dx in range(-2, 3)
            for dy in range(-2, 3)
            if torch.equal(out[n], torch.nn.functional.pad(x[n], (2, 2, 2, 2))[:, 2 + dy : 18 + dy, 2 + dx : 18 + dx])
        ]
        assert len(found) == 1
        shifts.update(found)
    assert len(shifts) > 5


def test_cutout_blanks_at_most_a_quarter() -> None:
    out = augment.cutout(torch.ones(64, 1, 16, 16), torch.Generator().manual_seed(0))
    blanked = 1 - out.mean(dim=(1, 2, 3))
    assert blanked.max() <= 0.26
    assert blanked.min() > 0.03


def test_colour_augmentation_is_of_the_whole_picture() -> None:
    """Colour moves by brightness, saturation and contrast: the pattern of a grey picture stays, up to an affine map."""
    x = torch.rand(8, 1, 4, 4).expand(8, 3, 4, 4)
    out = augment.colour(x, torch.Generator().manual_seed(0))
    for before, after in zip(x, out, strict=True):
        assert torch.corrcoef(torch.stack([before.flatten(), after.flatten()]))[0, 1] > 0.9999


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_augmentations_are_differentiable_and_keyed(name: str) -> None:
    x = torch.rand(4, 3, 16, 16, requires_grad=True)
    first = augment.diff_augment(x, [name], generator=torch.Generator().manual_seed(3))
    again = augment.diff_augment(x, [name], generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, again)
    first.sum().backward()
    assert x.grad.abs().sum() > 0


def test_robustify_reports_its_shift() -> None:
    """A bright dot moves by exactly what is reported."""
    x = torch.zeros(6, 3, 64, 64)
    x[:, :, 32, 20] = 1.0
    out = augment.robustify(x, augment.Robustification(0.1, 0.0, 0.0), generator=torch.Generator().manual_seed(0))
    ramp = (torch.arange(64) + 0.5) / 64
    weight = out.images[:, 0]
    centre = (
        torch.stack([(weight * ramp).sum((1, 2)), (weight * ramp[:, None]).sum((1, 2))], 1)
        / weight.sum((1, 2))[:, None]
    )
    moved = centre - torch.tensor([20.5 / 64, 32.5 / 64])
    assert torch.allclose(moved, out.shift[:, 0], atol=1e-3)
    assert moved.abs().max() > 0.02


def test_robustify_can_leave_colour_alone() -> None:
    x = torch.full((4, 3, 8, 8), 0.4)
    strength = augment.Robustification()
    kept = augment.robustify(x, strength, generator=torch.Generator().manual_seed(0), keep_colour=True)
    changed = augment.robustify(x, strength, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(kept.images, x, atol=1e-5)
    assert (changed.images - x).abs().max() > 0.01
