"""Copies beyond the photos' poses and lights: what is exact is exact, and λ goes along."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from synthface.errors import DatasetError
from synthface.factors import lighting
from synthface.factors.types import FactorBatch
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from synthface.networks.mapping import LambdaSizes
from training.__main__ import main
from training.gan.pack import Pack
from training.gan.pack_photos import PackRecipe, framed, pack_photos
from training.gan.toy import ToyRecipe, draw_factors
from training.gan.widen import Plan, Widening, draw_plan, make_copies, untouched
from training.lambda_table import LambdaTable, read_table, write_table

SIZE = 48
BEHIND = torch.full((1, 3, 1, 1), 0.25)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel(MorphableBasis.load())


@pytest.fixture(scope="module")
def heads(model: MorphableModel) -> FactorBatch:
    """Four heads, nearly frontal, softly lit."""
    batch = draw_factors(model.basis, 4, ToyRecipe(seed=3, max_yaw_deg=8.0))
    azimuth = np.array([-30.0, -10.0, 10.0, 30.0])
    sh = lighting.ambient(np.full(4, 0.5)) + lighting.directional(azimuth, 0 * azimuth + 15, np.full(4, 0.4))
    return dataclasses.replace(batch, sh=sh.astype(np.float32), expression=batch.expression * 0)


@pytest.fixture(scope="module")
def photos(model: MorphableModel, heads: FactorBatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heads rendered at 192² as photos, cut so that they lie 32 px inside a frame of 256, and their table."""
    folder = tmp_path_factory.mktemp("photos")
    with torch.no_grad():
        shown = render(model, Factors.of(heads), 192, supersample=2, background=BEHIND).image
    for number, image in enumerate(shown):
        pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    table = LambdaTable.of(heads, ("a", "b", "c", "d"), model.basis.expression_names, model.basis.name)
    crop = np.tile(np.array([256 / 192, 0.0, 0.0]), (4, 1))
    write_table(folder / "table.parquet", table, extra={"source": [f"{n}.png" for n in range(4)], "crop": crop})
    return folder


def cut_out(photos: Path):  # type: ignore[no-untyped-def]
    return framed(photos, [f"{n}.png" for n in range(4)], np.tile(np.array([256 / 192, 0.0, 0.0]), (4, 1)), SIZE)


def rendered(model: MorphableModel, factors: Factors) -> np.ndarray:
    with torch.no_grad():
        shown = render(model, factors, SIZE, supersample=4, background=BEHIND)
    return ((shown.image.permute(0, 2, 3, 1) + 1) * 127.5).numpy()


def face_mask(model: MorphableModel, factors: Factors) -> np.ndarray:
    with torch.no_grad():
        shown = render(model, factors, SIZE)
    return np.append(model.basis.face_mask, False)[shown.fragments.face_idx.numpy()]


def test_untouched_photos_are_the_photos(model: MorphableModel, heads: FactorBatch, photos: Path) -> None:
    factors = Factors.of(heads)
    made = make_copies(model, cut_out(photos), factors, untouched(4, mirrored=False), SIZE)
    assert np.abs(made.pixels - rendered(model, factors)).mean() < 1.5
    assert made.valid.all()
    assert torch.allclose(made.sh, factors.sh, atol=1e-5)
    flipped = make_copies(model, cut_out(photos), factors, untouched(4, mirrored=True), SIZE)
    assert np.array_equal(flipped.pixels, made.pixels[:, :, ::-1])


def plan_of(turn_deg: tuple[float, float, float], *, exposure: float = 1.0, light: np.ndarray | None = None) -> Plan:
    turn = torch.deg2rad(torch.tensor([turn_deg])).repeat(4, 1)
    new = torch.full((4, 9), math.nan) if light is None else torch.tensor(light, dtype=torch.float32).repeat(4, 1)
    return Plan(turn, new, torch.full((4,), exposure), torch.zeros(4, dtype=torch.bool))


def test_rolled_and_exposed_copies_are_what_their_lambda_renders(
    model: MorphableModel, heads: FactorBatch, photos: Path
) -> None:
    """In-plane rotation turns pose and light; exposure scales the light: both exact inside the face."""
    factors = Factors.of(heads)
    made = make_copies(model, cut_out(photos), factors, plan_of((0, 0, 14), exposure=0.8), SIZE)
    new = factors._replace(sh=made.sh, pose_rad=made.pose_rad)
    assert torch.allclose(made.pose_rad - factors.pose_rad, torch.deg2rad(torch.tensor([0.0, 0.0, 14.0])))
    inside = face_mask(model, new)
    assert np.abs(made.pixels - rendered(model, new))[inside].mean() < 2.5
    assert not made.valid[:, 0, 0].any(), "the corners come from beyond the photo"
    assert made.valid[:, SIZE // 2, SIZE // 2].all()


def test_turned_copies_look_like_the_turned_head_where_they_are_valid(
    model: MorphableModel, heads: FactorBatch, photos: Path
) -> None:
    factors = Factors.of(heads)
    made = make_copies(model, cut_out(photos), factors, plan_of((5, 20, 0)), SIZE)
    new = factors._replace(sh=made.sh, pose_rad=made.pose_rad)
    inside = face_mask(model, new) & made.valid
    assert inside.sum() > 0.85 * face_mask(model, new).sum()
    target = rendered(model, new)
    still = make_copies(model, cut_out(photos), factors, untouched(4, mirrored=False), SIZE).pixels
    assert np.abs(made.pixels - target)[inside].mean() < 6.0
    assert np.abs(made.pixels - target)[inside].mean() < 0.5 * np.abs(still - target)[inside].mean()


def test_relit_copies_look_like_the_relit_head(model: MorphableModel, heads: FactorBatch, photos: Path) -> None:
    """The ratio of shadings, in the part of the face that faces the camera."""
    factors = Factors.of(heads)
    light = lighting.sh_basis(lighting.direction(60.0, 20.0)) / lighting.CONSTANTS[0] * 0.4
    light[0] = 1.0
    made = make_copies(model, cut_out(photos), factors, plan_of((0, 0, 0), light=light), SIZE)
    new = factors._replace(sh=made.sh)
    target, inside = rendered(model, new), face_mask(model, new)
    still = make_copies(model, cut_out(photos), factors, untouched(4, mirrored=False), SIZE).pixels
    error, before = (np.abs(x - target)[inside].mean() for x in (made.pixels, still))
    assert error < 0.4 * before
    left, right = made.sh[:, :, 3].mean(), factors.sh[:, :, 3].mean()
    assert left < right - 0.1, "the light comes from the image's right: −x grows more negative"


def test_plans_depend_on_seed_photo_and_copy_only() -> None:
    pose = np.zeros((5, 3), np.float32)
    pose[4, 1] = math.radians(60)
    whole = draw_plan(pose, np.arange(5), 1, Widening(seed=2))
    last = draw_plan(pose[3:], np.array([3, 4]), 1, Widening(seed=2))
    for name in ("turn_rad", "light", "exposure"):
        assert torch.equal(getattr(whole, name)[3:].nan_to_num(9), getattr(last, name).nan_to_num(9))
    assert bool(whole.is_mirrored.all()) and not bool(draw_plan(pose, np.arange(5), 0, Widening()).is_mirrored.any())
    assert not torch.equal(whole.exposure, draw_plan(pose, np.arange(5), 2, Widening(seed=2)).exposure)


def test_turns_stay_within_their_bounds() -> None:
    """No further than asked for, and not beyond the limit; a photo beyond it already isn't pushed further."""
    settings = Widening(turned=1.0, yaw_deg=25, max_yaw_deg=40)
    pose = np.zeros((300, 3), np.float32)
    pose[:, 1] = math.radians(30)
    pose[:100, 1] = math.radians(50)
    plan = draw_plan(pose, np.arange(300), 0, settings)
    turned = torch.rad2deg(plan.turn_rad[:, 1])
    after = torch.rad2deg(torch.from_numpy(pose[:, 1])) + turned
    assert turned.abs().max() <= 25.01
    assert after[100:].max() <= 40.01 and after[100:].max() > 39
    assert after[:100].max() <= 50.01


def test_packs_hold_every_copy_with_its_lambda(photos: Path, tmp_path: Path, model: MorphableModel) -> None:
    """By the command: photo, flipped photo and copies in groups of one handedness; a second run gives the same numbers."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text("pack: {size_px: 32, licence: CC0, widening: {copies: 3}}\n")
    for out in ("a", "b"):
        arguments = ["pack", str(photos), str(photos / "table.parquet"), str(tmp_path / out), "--recipe", str(recipe)]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    pack = Pack(tmp_path / "a" / "pack.safetensors")
    assert len(pack) == 4 * 5
    assert pack.num_photos == 4
    assert pack.card["licence"] == "CC0"
    first, second = (load_file(tmp_path / out / "pack.safetensors") for out in ("a", "b"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    table, widened = read_table(photos / "table.parquet"), read_table(tmp_path / "a" / "widened.parquet")
    assert torch.equal(pack.vector, widened.vector)
    assert torch.allclose(pack.vector[::5], table.vector, atol=1e-5)
    pose = LambdaSizes.of(model.basis.layout()).parts["pose_rad"]
    assert torch.allclose(pack.vector[1::5, pose], table.vector[:, pose] * torch.tensor([1.0, -1.0, -1.0]), atol=1e-5)
    images = pack.images(torch.tensor([0, 1]))
    assert (images[0].flip(2) - images[1]).abs().mean() < 0.05
    assert (tmp_path / "a" / "pack-parts").exists() is False


def test_partners_are_copies_of_the_same_photo_and_handedness(photos: Path, tmp_path: Path) -> None:
    settings = PackRecipe(size_px=16, widening=Widening(copies=2))
    assert pack_photos(photos, photos / "table.parquet", tmp_path, settings) == 16
    pack = Pack(tmp_path / "pack.safetensors")
    rows = torch.arange(16).repeat(20)
    partners = pack.partners(rows, generator=torch.Generator().manual_seed(0))
    # Rows of a photo: itself, flipped, copy 0 (not flipped), copy 1 (flipped).
    assert torch.equal(partners // 4, rows // 4)
    assert torch.equal(partners % 2, rows % 2)
    assert {tuple(pair) for pair in torch.stack([rows, partners], 1)[:, :].tolist()} == {
        (4 * p + a, 4 * p + b) for p in range(4) for a in range(4) for b in range(4) if a % 2 == b % 2
    }


def test_a_missing_photo_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"0\.png: can't be read"):
        pack_photos(tmp_path, photos / "table.parquet", tmp_path / "out", PackRecipe(size_px=16))
    table = read_table(photos / "table.parquet")
    write_table(tmp_path / "bare.parquet", table)
    with pytest.raises(DatasetError, match="no column source"):
        pack_photos(photos, tmp_path / "bare.parquet", tmp_path / "out", PackRecipe(size_px=16))
