"""Building the default head: mesh arithmetic, paint, MakeHuman's files, and the asset that ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from synthface.errors import MissingExtraError, MorphableModelError
from synthface.identities import apply_attribute, read_attribute
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.skin import individual_typology_angle, reference_skin
from synthface.spec.names import ARKIT_ACTIONS
from tests.toy import icosphere, sphere_basis
from training.morphable.makehuman import read_base_mesh, read_target
from training.morphable.mesh import (
    farthest_points,
    principal_components,
    similarity,
    subdivide,
    triangulate,
    vertex_normals,
)


def test_a_similarity_is_recovered() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(9, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    scale, found, translation = similarity(points, 2.0 * points @ rotation.T + [1, 2, 3])
    assert scale == pytest.approx(2.0)
    np.testing.assert_allclose(found, rotation, atol=1e-12)
    np.testing.assert_allclose(translation, [1, 2, 3], atol=1e-12)


def edges_of(faces: np.ndarray) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for face in faces.tolist():
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            counts[(a, b)] = counts.get((a, b), 0) + 1
    return counts


def test_subdividing_leaves_no_crack_and_keeps_area_and_orientation() -> None:
    vertices, faces = icosphere(1)
    split = subdivide(faces, np.arange(len(faces)) % 3 == 0)
    matrix, finer = split.apply(faces, len(vertices))
    points = matrix @ vertices

    def area(v: np.ndarray, f: np.ndarray) -> np.ndarray:
        return 0.5 * np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]).sum(axis=0)

    assert len(finer) > len(faces)
    np.testing.assert_allclose(points[: len(vertices)], vertices)
    np.testing.assert_allclose(area(points, finer), area(vertices, faces), atol=1e-12)
    counts = edges_of(finer)
    assert set(counts.values()) == {1}
    assert all((b, a) in counts for a, b in counts)
    outward = (vertex_normals(points, finer) * points).sum(axis=1)
    assert (outward > 0).all()


def test_quads_are_split_along_their_shorter_diagonal() -> None:
    vertices = np.array([[0, 0, 0], [2, 0, 0], [2.2, 1, 0], [1, 1, 0]], float)
    corners, quad = triangulate(vertices, np.array([[0, 1, 2, 3]]))
    assert quad.tolist() == [0, 0]
    assert {tuple(sorted(c)) for c in corners.tolist()} == {(0, 1, 3), (1, 2, 3)}


def test_principal_components_have_unit_variance_coefficients() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(400, 3)) * [3, 1, 0.1] @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    mean, components, variance = principal_components(samples, 2)
    coefficients = (samples - mean) @ np.linalg.pinv(components)
    np.testing.assert_allclose(coefficients.std(axis=0, ddof=1), 1, rtol=1e-6)
    assert variance[0] == pytest.approx(9 / 10.01, abs=0.05)
    assert abs(components[0] @ components[1]) < 1e-9


def test_farthest_points_spread() -> None:
    points = np.array([[0.0, 0], [0.1, 0], [1, 0], [0.9, 0.1], [0, 1]])
    assert farthest_points(points, 3, [0]) == [0, 2, 4]


def test_ita_of_known_colours() -> None:
    """sRGB (0.5 grey): L* = 76.07, b* = 0: straight up. White is 90°, a saturated yellow-brown is low."""
    assert individual_typology_angle(np.array([0.5, 0.5, 0.5])) == pytest.approx(90, abs=0.5)
    assert individual_typology_angle(np.array([0.05, 0.02, 0.008])) < -30
    assert individual_typology_angle(np.array([0.8, 0.6, 0.45])) > 45


def test_targets_and_meshes_say_where_they_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.target").write_text("# comment\n1 .5 0 0\n")
    np.testing.assert_array_equal(read_target(tmp_path / "a.target", 2), [[0, 0, 0], [0.5, 0, 0]])
    (tmp_path / "a.target").write_text("0 0 0 0\n7 1 2 3\n")
    with pytest.raises(MorphableModelError, match=r"a.target:2: '7 1 2 3'"):
        read_target(tmp_path / "a.target", 2)
    (tmp_path / "a.obj").write_text("v 0 0 0\ng body\nf 1/1 1/1 1/1\n")
    with pytest.raises(MorphableModelError, match="3 corners"):
        read_base_mesh(tmp_path / "a.obj")


# ------------------------------------------------------------------------------------------------- the bundled asset


@pytest.fixture(scope="module")
def head() -> MorphableBasis:
    return MorphableBasis.load()


def test_the_bundled_head_is_whole(head: MorphableBasis) -> None:
    assert head.expression_names == ARKIT_ACTIONS
    assert (head.num_shape, len(head.landmarks_dense)) == (80, 400)
    assert 4000 < head.num_vertices < 9000
    assert np.abs(head.expression_basis).max(axis=(1, 2)).min() > 0.01  # every action moves something
    used = set(head.face_part.tolist())
    assert used == set(range(1, len(head.part_names)))
    pupils = [
        head.mean_shape[np.unique(head.faces[head.face_part == head.part_names.index(f"pupil_{s}")])].mean(axis=0)
        for s in ("left", "right")
    ]
    assert pupils[0][0] - pupils[1][0] == pytest.approx(0.63, abs=0.005)


def test_left_and_right_are_each_others_mirror(head: MorphableBasis) -> None:
    mirror = head.mirror
    np.testing.assert_array_equal(mirror[mirror], np.arange(head.num_vertices))
    flipped = head.mean_shape[mirror] * [-1, 1, 1]
    assert np.abs(flipped - head.mean_shape).max() < 0.06
    pairs = [(36, 45), (39, 42), (48, 54), (31, 35), (0, 16), (17, 26), (60, 64)]
    for right, left in pairs:
        assert mirror[head.landmarks68[right]] == head.landmarks68[left]
    names = head.expression_names
    smile = [head.expression_basis[names.index(f"mouth_smile_{side}")] for side in ("left", "right")]
    assert np.abs(smile[0][mirror] * [-1, 1, 1] - smile[1]).max() < 0.02


@pytest.mark.parametrize("ita", [-50, -20, 10, 35, 60])
def test_a_requested_skin_tone_is_what_cheeks_and_forehead_have(head: MorphableBasis, ita: float) -> None:
    axis = head.layout().attributes["skin_tone_ita_deg"]
    albedo = np.random.default_rng(0).normal(size=(5, head.num_albedo))
    apply_attribute(axis, np.full(5, float(ita)), np.zeros((5, 1)), albedo)
    faces = head.mean_albedo + np.einsum("nk,kvc->nvc", albedo, head.albedo_basis)
    colour = faces[:, reference_skin(head)].mean(axis=1)
    np.testing.assert_allclose(individual_typology_angle(colour), ita, atol=1.5)
    np.testing.assert_allclose(read_attribute(axis, np.zeros((5, 1)), albedo), ita, atol=1.5)


def test_skin_tone_is_read_off_whatever_colour_there_is(head: MorphableBasis) -> None:
    albedo = 0.5 * np.random.default_rng(1).normal(size=(20, head.num_albedo))
    faces = head.mean_albedo + np.einsum("nk,kvc->nvc", albedo, head.albedo_basis)
    truth = individual_typology_angle(faces[:, reference_skin(head)].mean(axis=1))
    axis = head.layout().attributes["skin_tone_ita_deg"]
    np.testing.assert_allclose(read_attribute(axis, np.zeros((20, 1)), albedo), truth, atol=0.1)


def test_a_model_survives_saving(tmp_path: Path) -> None:
    basis = sphere_basis()
    basis.save(tmp_path)
    loaded = MorphableBasis.load(tmp_path)
    assert loaded.part_names == basis.part_names
    np.testing.assert_allclose(loaded.shape_basis, basis.shape_basis, atol=1e-3)
    loaded.save(tmp_path / "again")
    assert MorphableBasis.load(tmp_path / "again").digest == loaded.digest


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("model.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "SHA-256"),
        ("model.safetensors", None, "no model.safetensors there"),
        ("config.json", lambda b: b[:20], "not JSON"),
        ("config.json", lambda b: b.replace(b"synthface-morphable-1", b"synthface-morphable-9"), "morphable-9"),
    ],
)
def test_a_damaged_model_is_refused(tmp_path: Path, file: str, damage: object, message: str) -> None:
    sphere_basis().save(tmp_path)
    path = tmp_path / file
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(MorphableModelError, match=message):
        MorphableBasis.load(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("anny") is None, reason="anny isn't installed")
def test_a_small_build_is_reproducible() -> None:
    from training.morphable.build import build

    first, figures = build(num_identities=12, num_shape=5, seed=3)
    again, _ = build(num_identities=12, num_shape=5, seed=3)
    assert first.digest == again.digest
    assert 0.5 < figures.explained_variance <= 1
    assert first.expression_names == ARKIT_ACTIONS


@pytest.mark.skipif(importlib.util.find_spec("anny") is not None, reason="anny is installed")
def test_building_without_anny_names_the_extra() -> None:
    from training.morphable.build import build

    with pytest.raises(MissingExtraError, match="morphable-build"):
        build(num_identities=2, num_shape=1, seed=0)
