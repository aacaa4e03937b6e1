"""Crops, sharpness and bounds mean what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from synthface.errors import SpecError
from tests.training.photo_scenes import head
from training.photos.align import (
    CANVAS_PX,
    FRAME_PX,
    MARGIN_PX,
    apply_crop,
    crop_of,
    cut,
    five_points,
    model_five_points,
    model_landmarks68,
    resemblance,
)
from training.photos.detector import Face
from training.photos.quality import PrepareRecipe, Rejection, check_place, choose_face, sharpness
from training.recipe import load_recipe, parse, read_sections

RECIPES = Path(__file__).parents[2] / "recipes"


def _canvas(image: Image.Image) -> np.ndarray:
    crop = crop_of(five_points(head(0)[1]), model_five_points())
    return np.asarray(cut(image, crop, CANVAS_PX, margin=MARGIN_PX / FRAME_PX)[0])


def test_five_points_of_68_and_of_5_agree() -> None:
    landmarks = model_landmarks68()
    five = five_points(landmarks)
    np.testing.assert_array_equal(five_points(five), five)
    assert five[0, 0] < five[1, 0]  # the subject's right eye is on the image's left
    np.testing.assert_array_equal(five[2], landmarks[30])


def test_a_crop_undoes_scale_and_translation_exactly() -> None:
    targets = model_five_points()
    crop = crop_of(3.7 * targets + [120, -45], targets)
    np.testing.assert_allclose(crop, [1 / 3.7, -120 / 3.7, 45 / 3.7], rtol=1e-9)
    np.testing.assert_allclose(apply_crop(crop, 3.7 * targets + [120, -45]), targets, rtol=1e-9)


def test_a_rolled_face_comes_out_as_large_as_an_upright_one() -> None:
    targets = model_five_points()
    c, s = np.cos(0.6), np.sin(0.6)
    rolled = (targets - 128) @ np.array([[c, s], [-s, c]]) * 2 + 128  # clockwise: x to the right turns down
    assert crop_of(rolled, targets)[0] == pytest.approx(0.5)
    assert resemblance(rolled, targets) == pytest.approx((0.6, 1.0))
    assert resemblance(targets[[1, 0, 2, 4, 3]], targets)[1] < 0.5


def test_many_crops_at_once_are_those_of_each() -> None:
    points = np.random.default_rng(0).normal(size=(7, 5, 2))
    np.testing.assert_allclose(crop_of(points, model_five_points()), [crop_of(p, model_five_points()) for p in points])


@pytest.mark.parametrize("size", [(300, 200), (2000, 3000)])
def test_a_cut_puts_pixels_where_the_crop_says(size: tuple[int, int]) -> None:
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    ramp = np.stack([x * 255 / size[0], y * 255 / size[1], 0 * x], axis=-1).round().astype(np.uint8)
    scale = 400 / size[0]
    crop = np.array([scale, -60.0, -10.0])
    picture, coverage = cut(Image.fromarray(ramp), crop, FRAME_PX)
    assert coverage == pytest.approx(1.0)
    source = (np.array([[20.5, 200.5], [128.5, 90.5]]) - crop[1:]) / scale
    for (column, row), (sx, sy) in zip([(20, 200), (128, 90)], source, strict=True):
        np.testing.assert_allclose(
            np.asarray(picture)[row, column, :2], [sx * 255 / size[0], sy * 255 / size[1]], atol=2
        )


def test_a_cut_beyond_the_edge_goes_on_with_its_pixels_and_says_how_much_it_covers() -> None:
    photo = Image.new("RGB", (100, 100), (200, 30, 90))
    picture, coverage = cut(photo, np.array([1.0, 200.0, 0.0]), FRAME_PX)
    assert coverage == pytest.approx(56 * 100 / FRAME_PX**2)
    assert (np.asarray(picture) == [200, 30, 90]).all()
    assert cut(photo, np.array([1.0, 5000.0, 0.0]), FRAME_PX)[1] == 0


def test_sharpness_falls_with_blur_and_not_with_what_is_around_the_face() -> None:
    image = head(0)[0]
    values = [sharpness(_canvas(image.filter(ImageFilter.GaussianBlur(s)))) for s in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 4 * values[2]
    canvas = _canvas(image).copy()
    canvas[:60] = np.random.default_rng(0).integers(0, 256, canvas[:60].shape)
    assert sharpness(canvas) == pytest.approx(sharpness(_canvas(image)))


def test_sharpness_is_the_laplacians_variance() -> None:
    x = np.arange(CANVAS_PX)
    wave = 100 + 50 * np.sin(x / 3)
    canvas = np.repeat(np.repeat(wave[None, :, None], CANVAS_PX, 0), 3, 2)
    # Of a wave the second difference is the wave itself, −(2 − 2 cos ω) times.
    expected = ((2 - 2 * np.cos(1 / 3)) * 50) ** 2 / 2
    assert sharpness(canvas) == pytest.approx(expected, rel=0.05)


def _face(width: float, score: float = 0.9) -> Face:
    return Face(model_five_points(), score, width)


@pytest.mark.parametrize(
    ("faces", "reason"),
    [([], "no face"), ([_face(100), _face(51)], "several faces"), ([_face(100, 0.4)], "too unsure")],
)
def test_there_must_be_one_sure_face(faces: list[Face], reason: str) -> None:
    with pytest.raises(Rejection) as caught:
        choose_face(faces, PrepareRecipe())
    assert caught.value.reason == reason


def test_small_faces_in_the_background_do_no_harm() -> None:
    first = _face(100)
    assert choose_face([first, _face(49)], PrepareRecipe()) is first
    assert choose_face([first, _face(99)], PrepareRecipe(max_second_face=1)) is first


@pytest.mark.parametrize(
    ("scale", "shift", "reason"),
    [
        (1.0, 0.0, None),
        (0.4, 0.0, "too small"),
        (1.0, -90.0, "cut off by the edge"),
        (1.0, 170.0, "cut off by the edge"),
    ],
)
def test_faces_must_be_large_enough_and_inside(scale: float, shift: float, reason: str | None) -> None:
    landmarks = scale * (model_landmarks68() + np.array([shift, 0]))
    crop = crop_of(five_points(landmarks), model_five_points())
    if reason is None:
        check_place(landmarks, crop, (FRAME_PX, FRAME_PX), PrepareRecipe())
        return
    with pytest.raises(Rejection) as caught:
        check_place(landmarks, crop, (FRAME_PX, FRAME_PX), PrepareRecipe())
    assert caught.value.reason == reason


def test_faces_on_their_side_and_exchanged_eyes_are_turned_down() -> None:
    landmarks = model_five_points()
    for points, reason in (
        ((landmarks - 128) @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 128, "too far rolled"),
        (landmarks[[1, 0, 2, 4, 3]], "odd landmarks"),
    ):
        with pytest.raises(Rejection) as caught:
            check_place(points, crop_of(points, landmarks), (FRAME_PX, FRAME_PX), PrepareRecipe())
        assert caught.value.reason == reason


def test_every_recipe_says_which_photos_do() -> None:
    files = sorted(RECIPES.glob("*.yaml"))
    assert len(files) >= 3
    for file in files:
        if "gan" in read_sections(file):
            assert load_recipe(file, "prepare", PrepareRecipe).min_eye_distance_px > 0


@pytest.mark.parametrize(
    "wrong",
    [{"min_coverage": 1.5}, {"min_sharpness": -1}, {"jpeg_quality": 0}, {"min_sharpnes": 3}, {"max_outside": "no"}],
)
def test_senseless_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SpecError, match="prepare"):
        parse(PrepareRecipe, wrong, file="r.yaml", place="prepare")
