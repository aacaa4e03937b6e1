"""What the reconstruction network learns from: pictures whose λ stays true through every change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from synthface.errors import DatasetError
from synthface.factors import lighting
from synthface.factors.mirror import Mirror
from synthface.factors.pose import rotation_matrix
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from synthface.networks.backbones import BackboneConfig
from synthface.networks.mapping import LambdaSizes
from synthface.networks.points import in_picture
from tests.training.reconstruct_scenes import VIEW, factors_of, write_photos
from training.lambda_table import read_table
from training.mirror import mirror_matrix
from training.reconstruct.bank import CANVAS_SHARE, Bank, BankRecipe, build_bank, surfaces
from training.reconstruct.batches import Batches, World, held_out
from training.reconstruct.draw import Geometry, draw_expression, draw_geometry, draw_light, draw_pose, together
from training.reconstruct.losses import FaceColours, detector_points, eye_distance, landmark_error, photometric
from training.reconstruct.measure import coefficient_r2, light_figures, photo_landmarks
from training.reconstruct.overlay import overlay
from training.reconstruct.photos import load_photos, split, split_bank, view_of
from training.reconstruct.pictures import Skin, backgrounds, over, shade, wear, with_hair
from training.reconstruct.recipe import Augmentation, NetworkRecipe
from training.reconstruct.train import new_network
from training.reconstruct.warp import Warp, turn_light

BASIS = MorphableBasis.load()
SIZES = LambdaSizes.of(BASIS.layout())
CANVAS, SIZE = 80, 64


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel(BASIS)


@pytest.fixture(scope="module")
def heads(model: MorphableModel) -> tuple[Factors, torch.Tensor]:
    """λ of two heads, and their lit surfaces (2, 4, CANVAS, CANVAS)."""
    batch = factors_of(BASIS, 2, seed=3)
    factors = Factors.of(batch)
    seen = torch.from_numpy(surfaces(model, Geometry(batch.shape, batch.expression, batch.pose_rad), CANVAS))
    skin = Skin.of(BASIS)
    return factors, shade(seen, skin.albedo(factors.albedo), skin.faces, factors.sh)


# --- surfaces


def test_lit_surfaces_are_what_the_renderer_draws(model: MorphableModel, heads: tuple[Factors, torch.Tensor]) -> None:
    factors, picture = heads
    view = torch.tensor([[-np.log(CANVAS_SHARE), 0.0, 0.0]]).float().expand(2, 3)
    drawn = overlay(model, factors, view, CANVAS)
    assert torch.equal(picture[:, 3:], drawn.head)
    ours = over(picture, torch.zeros(2, 3, CANVAS, CANVAS))
    difference = (ours - drawn.image).abs()
    assert difference.mean() < 0.005
    assert difference.max() < 0.1


def test_a_bank_built_in_two_goes_is_the_same(tmp_path: Path) -> None:
    recipe = BankRecipe(num=4, size_px=16, part=2)
    build_bank(tmp_path / "once", BASIS, None, recipe)
    build_bank(tmp_path / "twice", BASIS, None, replace(recipe, num=2))
    build_bank(tmp_path / "twice", BASIS, None, recipe)
    assert len(list((tmp_path / "once").iterdir())) == 2
    once, twice = (Bank(tmp_path / name, BASIS).rows(np.arange(4)) for name in ("once", "twice"))
    for name, values in vars(once).items():
        assert torch.equal(values, getattr(twice, name))
    rows = Bank(tmp_path / "once", BASIS).rows(np.array([3, 0]))
    assert rows.surface.shape == (2, 7, 16, 16)
    assert not torch.equal(rows.shape[0], rows.shape[1])


def test_banks_of_another_head_are_refused_and_of_another_skin_are_not(tmp_path: Path) -> None:
    build_bank(tmp_path, BASIS, None, BankRecipe(num=1, size_px=16))
    assert len(Bank(tmp_path, replace(BASIS, mean_albedo=BASIS.mean_albedo * 0.5))) == 1
    with pytest.raises(DatasetError, match="build the bank anew"):
        Bank(tmp_path, replace(BASIS, mean_shape=BASIS.mean_shape * 1.01))
    with pytest.raises(DatasetError, match="no bank there"):
        Bank(tmp_path / "nothing", BASIS)


# --- changes that λ follows


def warps() -> Warp:
    scale, turn = torch.tensor([1.15, 0.9]), torch.tensor([0.3, -0.4])
    shift = torch.tensor([[0.05, -0.03], [-0.04, 0.06]])
    return Warp(scale, turn, shift, torch.tensor([False, True]))


def test_warped_pictures_are_renderings_of_the_warped_lambda(
    model: MorphableModel, heads: tuple[Factors, torch.Tensor]
) -> None:
    """Scaled, shifted, turned, and the second one mirrored: drawn anew from λ and view it looks the same."""
    factors, picture = heads
    warp = warps()
    seen = over(warp.pictures(picture, SIZE), torch.zeros(2, 3, SIZE, SIZE))
    matrix = mirror_matrix(Mirror.of(BASIS), SIZES)
    vector, view = warp.factors(SIZES.pack(factors), torch.zeros(2, 3), SIZES, matrix)
    drawn = overlay(model, SIZES.unpack(vector), view, SIZE)
    unmoved = overlay(model, factors, torch.zeros(2, 3), SIZE)
    for n in range(2):
        error = ((seen[n] - drawn.image[n]).abs() * drawn.face[n]).sum() / (3 * drawn.face[n].sum())
        unlike = ((seen[n] - unmoved.image[n]).abs() * drawn.face[n]).sum() / (3 * drawn.face[n].sum())
        assert error < 0.035
        assert unlike > 3 * error


def test_warped_points_go_where_the_picture_does(model: MorphableModel, heads: tuple[Factors, torch.Tensor]) -> None:
    factors, _ = heads
    warp = warps()
    points = in_picture(model(factors).vertices[:, model.landmarks68], torch.zeros(2, 3))
    vector, view = warp.factors(SIZES.pack(factors), torch.zeros(2, 3), SIZES, torch.eye(SIZES.total))
    moved = warp.points(points - 0.5)[0] + 0.5
    turned = model(SIZES.unpack(vector)).vertices[:, model.landmarks68]
    assert torch.allclose(moved, in_picture(turned, view)[0], atol=1e-5)


def test_light_turns_about_the_viewing_axis_as_any_rotation_turns_it() -> None:
    rng = np.random.default_rng(0)
    sh, angles = rng.normal(size=(3, 3, 9)), np.array([0.4, -1.3, 2.9])
    turn = turn_light(torch.from_numpy(angles).float()).double().numpy()
    for n in range(3):
        expected = lighting.rotate(sh[n], rotation_matrix(np.array([0.0, 0.0, angles[n]])))
        assert pytest.approx(expected, abs=1e-6) == (turn[n] @ sh[n].T).T


def test_no_warp_is_the_middle_of_the_canvas() -> None:
    canvas = torch.rand(1, 3, CANVAS, CANVAS)
    seen = Warp.none(1).pictures(canvas, SIZE)
    assert torch.allclose(seen, canvas[:, :, 8:72, 8:72], atol=1e-5)


def test_worn_pictures_stay_pictures_and_the_seed_decides() -> None:
    images = torch.rand(6, 3, 32, 32) * 2 - 1
    all_of_it = Augmentation(coarse=1.0, blur=1.0, jpeg=1.0, noise=0.2, colour=0.1, hidden=1.0)
    first, second = (wear(images, all_of_it, rng=np.random.default_rng(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.abs().max() <= 1
    assert (first - images).abs().mean() > 0.05
    nothing = Augmentation(coarse=0, blur=0, jpeg=0, noise=0, colour=0, hidden=0)
    assert torch.equal(wear(images, nothing, rng=np.random.default_rng(1)), images)


def test_hair_colours_the_scalp_and_nothing_else() -> None:
    skin = Skin.of(BASIS)
    albedo = skin.albedo(torch.zeros(2, BASIS.num_albedo))
    coloured = with_hair(albedo, skin, 1.0, rng=np.random.default_rng(0))
    changed = (coloured != albedo).any(dim=2)
    assert torch.equal(changed, skin.is_scalp.expand(2, -1))


def test_backgrounds_are_colours() -> None:
    made = backgrounds(20, 16, torch.rand(3, 3, 12, 12), rng=np.random.default_rng(0))
    assert made.min() >= 0
    assert made.max() <= 1
    assert made.mean(dim=(1, 2, 3)).std() > 0.05


# --- draws


def test_drawn_heads_reach_every_action_and_the_limits_of_pose() -> None:
    rng = np.random.default_rng(0)
    expression = draw_expression(2000, BASIS.expression_names, rng=rng)
    assert expression.min() >= 0
    assert expression.max() <= 1
    assert (expression.max(axis=0) > 0.8).all()
    assert 0.05 < (expression.max(axis=1) == 0).mean() < 0.15
    pose = np.degrees(draw_pose(2000, rng=rng))
    assert (np.abs(pose) <= np.array([30, 65, 30]) + 1e-9).all()
    assert (np.abs(pose).max(axis=0) > np.array([29, 63, 29])).all()


def test_eyes_look_the_same_way_and_directions_go_alone() -> None:
    names = (
        "eye_look_in_left",
        "eye_look_in_right",
        "eye_look_out_left",
        "eye_look_out_right",
        "jaw_left",
        "jaw_right",
    )
    assert sorted(together(names)) == [(0, 3), (1, 2), (4,), (5,)]
    assert together(("mouth_smile_left", "mouth_smile_right", "jaw_open")) == [(0, 1), (2,)]


def test_a_table_lends_its_faces_and_lights(tmp_path: Path) -> None:
    table = read_table(write_photos(tmp_path, BASIS, num=3))
    rng = np.random.default_rng(0)
    geometry = draw_geometry(300, BASIS.num_shape, BASIS.expression_names, table, rng=rng)
    rows = table.columns["expression"]
    near = np.abs(geometry.expression[:, None] - rows[None]).max(axis=2).min(axis=1)
    assert (near < 1e-6).mean() > 0.2
    sh, own = draw_light(300, table, rng=rng)[:, 0], table.columns["sh"].reshape(-1, 3, 9)[:, 0]
    direction = sh[:, None, 1:] / np.linalg.norm(sh[:, None, 1:], axis=2, keepdims=True)
    own_direction = own[:, 1:] / np.linalg.norm(own[:, 1:], axis=1, keepdims=True)
    assert 0.2 < ((direction * own_direction).sum(axis=2).max(axis=1) > 0.999).mean() < 0.5


# --- photos


def test_photos_lie_where_the_two_crops_say(tmp_path: Path) -> None:
    table = write_photos(tmp_path, BASIS, num=3)
    photos, fitted = load_photos(tmp_path, table, CANVAS)
    assert photos.view.numpy() == pytest.approx(np.tile(VIEW, (3, 1)), abs=1e-6)
    factors = fitted.factors()
    points = in_picture(MorphableModel(BASIS)(factors).vertices[:, BASIS.landmarks68], photos.view)
    assert torch.allclose(points - 0.5, photos.landmarks, atol=1e-4)


def test_views_undo_the_recropping_of_the_fit() -> None:
    from training.fit.surface import recrop

    crop = np.array([[1.3, -20.0, 15.0]])
    view = np.array([[0.2, 12.0, -7.0]])
    found = view_of(crop.astype(np.float32), recrop(crop, view).astype(np.float32))
    assert found[0] == pytest.approx([0.2, 12.0 / 256, -7.0 / 256], abs=1e-5)


def test_photos_that_the_table_doesnt_have_are_an_error(tmp_path: Path) -> None:
    write_photos(tmp_path / "a", BASIS, num=1)
    from training.lambda_table import LambdaTable, write_table

    other = LambdaTable.of(factors_of(BASIS, 1), ("somebody",), BASIS.expression_names, BASIS.name)
    write_table(tmp_path / "other.parquet", other, extra={"crop": np.ones((1, 3))})
    with pytest.raises(DatasetError, match="none of its 1 keys"):
        load_photos(tmp_path / "a", tmp_path / "other.parquet", CANVAS)


def test_what_is_held_out_is_in_neither_half_and_stays_so() -> None:
    keys = [f"photo_{n}" for n in range(4000)]
    first = split(keys)
    assert [round(float((first == k).mean()), 1) for k in (-1, 0, 1)] == [0.1, 0.4, 0.5]
    assert np.array_equal(split(keys[::-1])[::-1], first)
    assert np.array_equal(split_bank(5000)[:2000], split_bank(2000))
    assert set(split_bank(40)) == {-1, 0, 1}


# --- errors and figures


def test_landmark_errors_are_in_distances_between_the_eyes() -> None:
    points = torch.rand(2, 68, 2)
    view = torch.tensor([[0.0, 0.0, 0.0], [0.7, 0.1, 0.0]])
    eyes = BASIS.mean_shape[BASIS.landmarks68[[36, 45]]]
    apart = in_picture(torch.from_numpy(eyes)[None].expand(2, -1, -1), view)
    expected = torch.linalg.vector_norm(apart[:, 0] - apart[:, 1], dim=1)
    assert torch.allclose(eye_distance(view), expected, rtol=0.06)
    moved = points + torch.tensor([0.01, 0.0])
    assert torch.allclose(landmark_error(moved, points, view), 0.01 / eye_distance(view), rtol=1e-3)


def test_the_photometric_error_is_least_at_the_true_lambda(model: MorphableModel) -> None:
    factors = Factors.of(factors_of(BASIS, 2, seed=5))
    view = torch.tensor([[0.0, 0.02, 0.0], [0.1, 0.0, -0.03]])
    photos = overlay(model, factors, view, 96).image
    colours = FaceColours(BASIS)
    true = float(photometric(colours, factors, view, photos))
    assert true < 0.03
    darker = factors._replace(sh=factors.sh * 0.7)
    turned = factors._replace(pose_rad=factors.pose_rad + 0.2)
    for other in (darker, turned):
        assert photometric(colours, other, view, photos) > 1.5 * true
    assert photometric(colours, factors, view + 0.1, photos) > 1.5 * true


def test_the_photometric_error_pulls_light_towards_the_photo(model: MorphableModel) -> None:
    factors = Factors.of(factors_of(BASIS, 1, seed=6))
    view = torch.zeros(1, 3)
    photos = overlay(model, factors, view, 96).image
    sh = (factors.sh * 0.8).requires_grad_(True)
    photometric(FaceColours(BASIS), factors._replace(sh=sh), view, photos).backward()
    assert sh.grad is not None
    assert (sh.grad * (factors.sh - sh.detach())).sum() < 0


def test_light_figures_are_exact_on_known_turns() -> None:
    sh = lighting.ambient(np.full(50, 0.5)) + lighting.directional(
        np.linspace(-80, 80, 50), np.full(50, 20.0), np.full(50, 0.8)
    )
    turned = np.stack([lighting.rotate(s, rotation_matrix(np.radians([0.0, 0.0, 10.0]))) for s in sh])
    vectors = []
    for values in (sh, turned):
        vector = torch.zeros(50, SIZES.total)
        vector[:, SIZES.parts["sh"]] = torch.from_numpy(values).float().flatten(1)
        vectors.append(vector)
    same = light_figures(vectors[0], vectors[0], SIZES)
    assert same["light_error_deg"] < 0.1
    assert same["band_ratio_r2"] == pytest.approx(1.0)
    other = light_figures(vectors[0], vectors[1], SIZES)
    assert 0 < other["light_error_deg"] <= 10.01
    assert other["band_ratio_r2"] < 1.0


def test_r2_of_a_column_that_doesnt_vary_is_zero() -> None:
    true = torch.tensor([[1.0, 2.0, 5.0], [3.0, 1.0, 5.0], [2.0, 4.0, 5.0]])
    mean = true.mean(dim=0).expand(3, 3)
    assert coefficient_r2(true, true, torch.arange(3)) == pytest.approx([1, 1, 0])
    assert coefficient_r2(true, mean, torch.arange(3)) == pytest.approx([0, 0, 0], abs=1e-6)


# --- batches


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    table = write_photos(folder / "photos", BASIS, num=6)
    build_bank(folder / "bank", BASIS, None, BankRecipe(num=40, size_px=40, part=20))
    photos, fitted = load_photos(folder / "photos", table, 40)
    return World(BASIS, Bank(folder / "bank", BASIS), photos, fitted, 32)


def test_batches_depend_on_seed_and_step_alone(world: World) -> None:
    first, again = (Batches(world, 0, Augmentation(), seed=1) for _ in range(2))
    again.draw(0, 2, 2)
    a, b, c = first.draw(3, 3, 2), again.draw(3, 3, 2), first.draw(4, 3, 2)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.vector, b.vector)
    assert not torch.equal(a.images, c.images)
    assert a.images.shape == (5, 3, 32, 32)
    assert a.photos.shape == (2, 3, 32, 32)
    assert a.vector.shape == (5, SIZES.total)


def test_the_halves_share_nothing(world: World) -> None:
    halves = [Batches(world, half, Augmentation(), seed=1) for half in (-1, 0, 1)]
    for name in ("rendered", "taken"):
        rows = [set(getattr(h, name).tolist()) for h in halves]
        assert all(rows)
        assert sum(map(len, rows)) == len(set.union(*rows))


def test_what_is_held_out_is_the_same_every_time(world: World) -> None:
    first, second = held_out(world, 2), held_out(world, 2)
    assert torch.equal(first[0].images, second[0].images)
    assert len(first[0].photos) == 2


def test_photos_are_measured_where_there_are_fewer_than_renderings(world: World) -> None:
    batches = held_out(world, 4, chunk=2)
    assert [len(batch.photos) for batch in batches] == [2, 0]
    network = new_network(world, NetworkRecipe(backbone=BackboneConfig(32, 4, (4, 4), (0, 0), 4, 2, 8)), "small")
    figures = photo_landmarks(network, batches, detector_points(BASIS, 68))
    assert figures["photos_landmark_nme_of_the_fit"] < 1e-3
    assert figures["photos_landmark_nme"] > 0.02


def test_unmirrored_photos_keep_their_detectors_order(world: World) -> None:
    batch = Batches(world, 0, Augmentation(mirror=0.5), seed=2).draw(0, 1, 40)
    assert 5 < int(batch.has_detector.sum()) < 35
    true = SIZES.unpack(batch.vector[1:])
    points = in_picture(MorphableModel(BASIS)(true).vertices[:, BASIS.landmarks68], batch.view[1:])
    error = torch.linalg.vector_norm(points - batch.detector, dim=2).mean(dim=1)
    assert error[batch.has_detector].max() < 1e-3
    assert error[~batch.has_detector].min() > 0.05
