"""Mirroring λ is flipping the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from synthface.errors import MorphableModelError
from synthface.factors import lighting
from synthface.factors.mirror import SH_SIGNS, Mirror, mirror_landmarks68, swapped
from synthface.factors.pose import rotation_matrix
from synthface.factors.types import FactorBatch
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.camera import clip_to_pixels
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import Rendered, render
from synthface.networks.mapping import LambdaSizes
from synthface.spec.names import ARKIT_ACTIONS
from training.gan.toy import ToyRecipe, draw_factors
from training.lambda_table import LambdaTable
from training.mirror import mirror_matrix, mirrored_table

SIZE_PX, NUM = 96, 4
FLIP = np.diag([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def basis() -> MorphableBasis:
    return MorphableBasis.load()


@pytest.fixture(scope="module")
def mirror(basis: MorphableBasis) -> Mirror:
    return Mirror.of(basis)


def heads(basis: MorphableBasis, **changes: float) -> FactorBatch:
    """Four heads of random pose, light and expression, up to 40° to each side; `changes` scale parts of λ."""
    batch = draw_factors(basis, NUM, ToyRecipe(max_yaw_deg=40.0, seed=3))
    roll = np.linspace(-0.3, 0.3, NUM, dtype=np.float32)
    batch = replace(batch, pose_rad=np.concatenate([batch.pose_rad[:, :2], roll[:, None]], axis=1))
    return replace(batch, **{name: getattr(batch, name) * np.float32(scale) for name, scale in changes.items()})


def picture(basis: MorphableBasis, batch: FactorBatch) -> Rendered:
    with torch.no_grad():
        return render(MorphableModel(basis), Factors.of(batch), SIZE_PX, supersample=2)


def differences(basis: MorphableBasis, shown: Rendered, mirrored: FactorBatch) -> np.ndarray:
    """Levels of 255 (N, H, W) between the rendering of `mirrored` and the flipped picture `shown`."""
    return (shown.image.flip(3) - picture(basis, mirrored).image).abs().mean(dim=1).numpy() * 127.5


@pytest.fixture(scope="module")
def shown(basis: MorphableBasis) -> Rendered:
    """The rendering of `heads(basis)`."""
    return picture(basis, heads(basis))


def test_a_rotation_between_two_flips_is_the_mirrored_pose(mirror: Mirror) -> None:
    pose = np.random.default_rng(0).uniform(-1, 1, (9, 3))
    np.testing.assert_allclose(
        rotation_matrix(mirror.part("pose_rad", pose)), FLIP @ rotation_matrix(pose) @ FLIP, atol=1e-6
    )


def test_mirrored_light_shades_the_mirrored_normals_alike() -> None:
    rng = np.random.default_rng(1)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    sh = rng.normal(size=(3, 9))
    np.testing.assert_allclose(lighting.shade(normals @ FLIP, sh * SH_SIGNS), lighting.shade(normals, sh), atol=1e-12)


def test_mirrored_light_comes_from_the_other_side(mirror: Mirror) -> None:
    light = lighting.directional(np.array([50.0]), np.array([20.0]))
    np.testing.assert_allclose(lighting.dominant_direction(mirror.part("sh", light)), [[-50.0, 20.0]], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("mouth_smile_left", "mouth_smile_right"),
        ("jaw_right", "jaw_left"),
        ("mouth_left", "mouth_right"),
        ("eye_look_in_left", "eye_look_in_right"),
        ("eye_look_out_right", "eye_look_out_left"),
        ("jaw_open", "jaw_open"),
    ],
)
def test_actions_change_sides(name: str, twin: str) -> None:
    assert ARKIT_ACTIONS[swapped(ARKIT_ACTIONS)[ARKIT_ACTIONS.index(name)]] == twin


def test_an_action_without_a_twin_is_named() -> None:
    with pytest.raises(MorphableModelError, match="wink_left"):
        swapped(["jaw_open", "wink_left"])


def test_without_identity_the_mirrored_rendering_is_the_rendering_of_mirrored_factors(
    basis: MorphableBasis, mirror: Mirror
) -> None:
    """What is left are triangles cut the other way, and lips that the mesh shapes a tenth of a millimetre apart."""
    batch = heads(basis, shape=0, albedo=0)
    levels = differences(basis, picture(basis, batch), mirror.factors(batch))
    assert levels.mean() < 0.4
    assert np.quantile(levels, 0.99) < 8


def test_random_heads_are_mirrored_within_a_small_tolerance(
    basis: MorphableBasis, mirror: Mirror, shown: Rendered
) -> None:
    levels = differences(basis, shown, mirror.factors(heads(basis)))
    assert levels.mean() < 2.0
    assert np.quantile(levels, 0.95) < 8


@pytest.mark.parametrize("part", ["shape", "expression", "sh", "pose_rad"])
def test_leaving_a_part_out_would_show(basis: MorphableBasis, mirror: Mirror, shown: Rendered, part: str) -> None:
    batch = heads(basis)
    right = mirror.factors(batch)
    wrong = replace(right, **{part: getattr(batch, part)})
    assert differences(basis, shown, wrong).mean() > 1.2 * differences(basis, shown, right).mean()


def test_landmarks_lie_where_the_flipped_picture_has_them(
    basis: MorphableBasis, mirror: Mirror, shown: Rendered
) -> None:
    landmarks = torch.as_tensor(basis.landmarks68).long()
    mirrored = picture(basis, mirror.factors(heads(basis)))
    here, there = (clip_to_pixels(rendered.clip[:, landmarks], SIZE_PX).numpy() for rendered in (shown, mirrored))
    off = np.linalg.norm(mirror_landmarks68(here, SIZE_PX) - there, axis=2)
    assert off.mean() < 0.5
    assert off.max() < 3.0
    np.testing.assert_allclose(mirror_landmarks68(mirror_landmarks68(here, SIZE_PX), SIZE_PX), here, atol=1e-4)


def test_pose_light_and_expression_come_back_after_two_mirrorings(basis: MorphableBasis, mirror: Mirror) -> None:
    batch = heads(basis)
    twice = mirror.factors(mirror.factors(batch))
    for name in ("pose_rad", "sh", "expression", "noise"):
        np.testing.assert_allclose(getattr(twice, name), getattr(batch, name), atol=1e-6)


def test_a_symmetric_basis_is_mirrored_exactly_by_signs(basis: MorphableBasis) -> None:
    """Half of the components made symmetric, half antisymmetric."""
    flipped = basis.shape_basis[:, basis.mirror] * np.float32([-1, 1, 1])
    signs = np.where(np.arange(basis.num_shape) % 2, -1.0, 1.0).astype(np.float32)
    even = (basis.shape_basis + signs[:, None, None] * flipped) / 2
    found = Mirror.of(replace(basis, shape_basis=even))
    np.testing.assert_allclose(found.matrices["shape"], np.diag(signs), atol=1e-2)
    assert found.exactness["shape"].left < 1e-3 * found.exactness["shape"].whole


def test_what_the_basis_cannot_mirror_is_reported(mirror: Mirror) -> None:
    for part in ("shape", "albedo"):
        exactness = mirror.exactness[part]
        assert 0 < exactness.left < 0.25 * exactness.whole


def test_a_model_without_twins_is_turned_down(basis: MorphableBasis) -> None:
    with pytest.raises(MorphableModelError, match="no `mirror`"):
        Mirror.of(replace(basis, mirror=np.zeros(0, np.int32)))


def test_tables_and_vectors_are_mirrored_alike(basis: MorphableBasis, mirror: Mirror) -> None:
    batch = heads(basis)
    table = LambdaTable.of(batch, tuple("abcdef"), basis.expression_names, basis.name)
    mirrored = mirrored_table(table, mirror)
    assert mirrored.keys[0] == "a-mirrored"
    np.testing.assert_allclose(mirrored.columns["shape"], mirror.factors(batch).shape)
    matrix = mirror_matrix(mirror, LambdaSizes.of(basis.layout()))
    torch.testing.assert_close(table.vector @ matrix, mirrored.vector, atol=1e-4, rtol=1e-4)
