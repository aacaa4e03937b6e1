"""Faces are found wherever they are in a photo and however large, and landmarks lie where the mesh has them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.training.photo_scenes import HEAD_PX, head, scene, surroundings
from training.photos.align import five_points
from training.photos.detector import load_detector

pytest.importorskip("ai_edge_litert", reason="the extra `photos` isn't installed")

from training.photos.facemesh import FaceMesh
from training.photos.tflite import turned_square


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh()


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the five points, as a share of the distance between the eyes."""
    ours, theirs = five_points(found), five_points(truth)
    return float(np.linalg.norm(ours - theirs, axis=1).mean() / np.linalg.norm(theirs[1] - theirs[0]))


@pytest.mark.parametrize(
    ("size", "heads"),
    [
        ((HEAD_PX, HEAD_PX), [(0, HEAD_PX, 0, 0)]),
        ((640, 480), [(1, 300, 200, 100)]),
        ((3000, 2000), [(0, 800, 1200, 600)]),
        ((2000, 1500), [(2, 120, 300, 900)]),
        ((300, 1200), [(3, 280, 10, 700)]),
    ],
    ids=["fills the photo", "medium", "large photo", "small face", "tall photo"],
)
def test_landmarks_lie_where_the_mesh_has_them(mesh: FaceMesh, size: tuple, heads: list) -> None:
    photo, landmarks = scene(size, heads)
    (face,) = mesh.find(np.asarray(photo))
    assert face.landmarks.shape == (468, 2)
    assert face.score > 0.5
    # A hundred pixels of a rendering is little to go by.
    assert _error(face.landmarks, landmarks[0]) < (0.08 if heads[0][1] < 200 else 0.05)


def test_of_two_faces_the_larger_comes_first(mesh: FaceMesh) -> None:
    photo, landmarks = scene((900, 500), [(1, 220, 550, 120), (2, 320, 100, 100)])
    first, second = mesh.find(np.asarray(photo))
    assert first.width_px > second.width_px
    assert _error(first.landmarks, landmarks[1]) < 0.05
    assert _error(second.landmarks, landmarks[0]) < 0.05


def test_five_points_say_which_face_is_meant(mesh: FaceMesh) -> None:
    photo, landmarks = scene((900, 500), [(1, 220, 550, 120), (2, 320, 100, 100)])
    (face,) = mesh.find(np.asarray(photo), five_points(landmarks[0]))
    assert _error(face.landmarks, landmarks[0]) < 0.05


def test_surroundings_have_no_face(mesh: FaceMesh) -> None:
    assert mesh.find(np.asarray(surroundings(800, 600))) == []


def test_a_turned_photo_turns_its_landmarks(mesh: FaceMesh) -> None:
    image, _ = head(1)
    square = Image.new("RGB", (400, 400), (102, 102, 102))
    square.paste(image, (72, 72))
    turned = square.rotate(25, Image.Resampling.BICUBIC, fillcolor=(102, 102, 102))  # counter-clockwise
    (plain,), (other,) = mesh.find(np.asarray(square)), mesh.find(np.asarray(turned))
    c, s = np.cos(np.radians(25)), np.sin(np.radians(25))
    expected = (plain.landmarks - 200) @ np.array([[c, s], [-s, c]]).T + 200
    eyes = np.linalg.norm(plain.landmarks[33] - plain.landmarks[263])
    assert np.linalg.norm(other.landmarks - expected, axis=1).mean() < 0.04 * eyes


def test_a_square_of_a_photo_is_sampled_at_pixel_centres() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    shifted = np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 5.0]])
    np.testing.assert_allclose(turned_square(photo, shifted, 20) * 255, photo[5:25, 10:30], atol=1e-3)
    quarter = np.array([[0.0, -1.0, 30.0], [1.0, 0.0, 5.0]])  # x of the square runs down the photo
    np.testing.assert_allclose(turned_square(photo, quarter, 20) * 255, np.rot90(photo[5:25, 10:30]), atol=1e-3)


def test_far_away_squares_are_averaged_not_skipped() -> None:
    photo = np.zeros((512, 512, 3), np.uint8)
    photo[::2] = 255
    scaled = np.array([[8.0, 0.0, 0.0], [0.0, 8.0, 0.0]])
    np.testing.assert_allclose(turned_square(photo, scaled, 64), 0.5, atol=0.01)


def test_detectors_go_by_name() -> None:
    assert isinstance(load_detector("facemesh"), FaceMesh)
