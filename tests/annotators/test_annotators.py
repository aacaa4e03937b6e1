"""Every annotator keeps its contract, and its labels agree with the picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from synthface.annotators import ANNOTATORS, TileLabels, TileView, networks_of
from synthface.columns import DType
from synthface.crops import Crop, five_points, make_crop, similarity
from synthface.factors.types import FactorBatch
from synthface.generators import load_generator
from synthface.generators.base import Generated
from synthface.morphable.scene import Scene
from synthface.spec.names import ANNOTATIONS

SIZE = 96
NUMPY: dict[DType, type] = {"float32": np.float32, "bool": np.bool_, "uint8": np.uint8}


@pytest.fixture(scope="module")
def generated() -> Generated:
    generator = load_generator("3dmm")
    batch = FactorBatch.neutral(generator.layout, 4)
    batch.pose_rad[:] = np.radians([[0, 0, 0], [0, 60, 0], [0, -60, 0], [10, 20, 15]])
    return generator.generate(batch, size_px=SIZE)


@pytest.fixture(scope="module")
def scene(generated: Generated) -> Scene:
    return generated.scene


def crops(scene: Scene) -> list[Crop]:
    return [Crop(SIZE), make_crop("arcface", 56, five_points(scene.landmarks68_px))]


def test_specs_can_name_every_annotator_and_nothing_else() -> None:
    assert {*ANNOTATORS, "lambda"} == set(ANNOTATIONS)


@pytest.mark.parametrize("name", sorted(ANNOTATORS))
def test_it_gives_what_it_declares(generated: Generated, name: str) -> None:
    annotator, scene = ANNOTATORS[name], generated.scene
    num_dense = len(scene.basis.landmarks_dense)
    for crop in crops(scene):
        labels = annotator.annotate(TileView(scene, crop, generated.images))
        assert isinstance(labels, TileLabels)
        columns = annotator.columns(num_dense)
        assert list(labels.columns) == [column.name for column in columns]
        for column in columns:
            values = labels.columns[column.name]
            assert values.shape == (4, *column.shape), column.name
            assert values.dtype == NUMPY[column.dtype], column.name
            assert column.description
            assert column.unit in column.name or column.shape == (3,) or column.dtype == "bool"
        assert list(labels.files) == [file.extension for file in annotator.files()]
        for content in labels.files.values():
            assert len(content) == 4
        assert columns or annotator.files()


@pytest.mark.parametrize("name", ["face_mask", "parts", "albedo", "parsing"])
def test_maps_have_the_pictures_size(generated: Generated, name: str) -> None:
    for crop in crops(generated.scene):
        ((_, files),) = ANNOTATORS[name].annotate(TileView(generated.scene, crop, generated.images)).files.items()
        assert Image.open(io.BytesIO(files[0])).size == (crop.size_px, crop.size_px)


def test_landmarks_lie_on_what_they_name(scene: Scene) -> None:
    """Lip landmarks on lips, brows near brows, on the frontal head."""
    x, y = scene.landmarks68_px[0].T
    names = np.array(scene.basis.part_names)
    parts = names[scene.parts[0][y.astype(int), x.astype(int)]]
    for number in (48, 50, 51, 52, 54, 56, 57, 58, 62, 66):
        column, row = int(x[number]), int(y[number])
        assert "lips" in names[scene.parts[0][row - 1 : row + 2, column - 1 : column + 2]], number
    assert (parts[27:31] == "skin").all()
    assert x[0] < x[8] < x[16]
    assert y[19] < y[37] < y[33] < y[51] < y[57] < y[8]


def test_landmarks_on_the_far_side_are_hidden(scene: Scene) -> None:
    visible = scene.landmarks68_visible
    assert visible[0].mean() > 0.9
    right_eye, left_eye = visible[:, 36:42].mean(axis=1), visible[:, 42:48].mean(axis=1)
    # Yaw > 0 turns to the image's right: the subject's right eye (image left) stays in view.
    assert right_eye[1] > 0.8 > left_eye[1]
    assert left_eye[2] > 0.8 > right_eye[2]


def test_visibility_agrees_with_rays_traced_one_by_one(scene: Scene) -> None:
    """A landmark is hidden if some triangle crosses the segment from the camera to just in front of it."""
    vertices = scene.mesh.vertices[1].numpy().astype(float)
    faces, landmarks = scene.basis.faces, scene.basis.landmarks68
    eye = np.array([0.0, 0.0, 10.0])
    disagree = 0
    for number, vertex in enumerate(landmarks):
        direction = vertices[vertex] - eye
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        cross = np.cross(direction, c - a)
        determinant = ((b - a) * cross).sum(axis=1)
        front = determinant > 1e-12
        safe = np.where(front, determinant, 1.0)
        u = ((eye - a) * cross).sum(axis=1) / safe
        q = np.cross(eye - a, b - a)
        v = (q @ direction) / safe
        t = ((c - a) * q).sum(axis=1) / safe
        hit = front & (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        hidden = (hit & (t < 1 - 0.03 / np.linalg.norm(direction))).any()
        disagree += hidden == scene.landmarks68_visible[1, number]
    assert disagree <= 4  # grazing ones, within a pixel of the silhouette


def test_depth_and_normals_are_geometry(scene: Scene) -> None:
    head = scene.head_mask[0]
    assert (scene.depth[0][~head] == 0).all()
    assert 8.5 < scene.depth[0][head].min() < 9.5
    lengths = np.linalg.norm(scene.normals[0][head], axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-4)
    assert scene.normals[0][SIZE // 2, SIZE // 2, 2] > 0.5


def test_gaze_follows_the_eyes() -> None:
    generator = load_generator("3dmm")
    names = generator.layout.expression_names
    batch = FactorBatch.neutral(generator.layout, 4)
    batch.expression[1, [names.index("eye_look_out_left"), names.index("eye_look_in_right")]] = 1
    batch.expression[2, [names.index("eye_look_up_left"), names.index("eye_look_up_right")]] = 1
    batch.pose_rad[3, 1] = np.radians(30)
    scene = Scene(generator.model, batch, 32)  # type: ignore[attr-defined]
    for side in ("left", "right"):
        straight, left, up, turned = scene.gaze(side)
        assert straight[2] > 0.98
        assert left[0] > straight[0] + 0.15
        assert up[1] > straight[1] + 0.05
        assert abs(np.degrees(np.arctan2(turned[0], turned[2]) - np.arctan2(straight[0], straight[2])) - 30) < 1


def test_boxes_hold_their_points(scene: Scene) -> None:
    images = np.zeros((len(scene), SIZE, SIZE, 3), np.uint8)
    labels = ANNOTATORS["boxes"].annotate(TileView(scene, Crop(SIZE), images)).columns
    x0, y0, x1, y1 = labels["box_px"].T
    nose = scene.landmarks68_px[:, 30]
    assert ((x0 < nose[:, 0]) & (nose[:, 0] < x1) & (y0 < nose[:, 1]) & (nose[:, 1] < y1)).all()
    assert (labels["head_box_px"][:, 1] < y0).all()


def test_a_similarity_is_recovered() -> None:
    rng = np.random.default_rng(0)
    points, angle = rng.normal(size=(5, 2)), 0.4
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = 2.5 * points @ rotation.T + [3, -1]
    matrix = similarity(points, target)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], target, atol=1e-12)


def test_crops_move_pictures_and_points_alike() -> None:
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, 20:23, 40:43] = 255  # a dot centred at (41.5, 21.5)
    source = np.array([[10.0, 10], [50, 12], [30, 30], [15, 50], [45, 50]])
    crop = Crop(56, similarity(source, source * 0.8 + [3, 5])[None])
    moved = crop.images(image)[0, :, :, 0].astype(float)
    y, x = np.mgrid[:56, :56] + 0.5
    centre = [(moved * x).sum() / moved.sum(), (moved * y).sum() / moved.sum()]
    np.testing.assert_allclose(centre, crop.points(np.array([[[41.5, 21.5]]]))[0, 0], atol=0.1)
    dots = crop.maps(image[..., 0])[0]
    assert abs((dots > 0).sum() - 9 * 0.64) <= 3


def parsing(generated: Generated, rows: slice = slice(None)) -> np.ndarray:
    """The classes (N, H, W) of some of the pictures, whole view."""
    view = TileView(generated.scene, Crop(SIZE), generated.images[rows])
    return np.stack(
        [np.asarray(Image.open(io.BytesIO(f))) for f in ANNOTATORS["parsing"].annotate(view).files["parsing.png"]]
    )


def test_parsing_is_read_off_the_picture_and_finds_the_face(generated: Generated) -> None:
    """The renderer's heads aren't photos, yet their faces are skin and what is behind them isn't."""
    (file,) = ANNOTATORS["parsing"].files()
    assert file.origin.value == "estimated"
    classes, scene = np.array(file.names)[parsing(generated)[0]], generated.scene
    assert (classes[scene.face_mask[0]] != "background").mean() > 0.9
    assert (classes[scene.face_mask[0]] == "skin").mean() > 0.5
    assert (classes[~scene.head_mask[0]] == "background").mean() > 0.5


def test_parsing_treats_each_picture_by_itself(generated: Generated) -> None:
    np.testing.assert_array_equal(parsing(generated)[1:2], parsing(generated, slice(1, 2)))


def test_labels_of_a_network_name_it() -> None:
    assert networks_of(["landmarks", "depth"]) == {}
    ((name, sha256),) = networks_of(["parsing", "depth"]).items()
    assert name == "parsing"
    assert len(sha256) == 64
