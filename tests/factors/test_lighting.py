"""Lights as spherical harmonics: levels, directions, colours, rotation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthface.factors import lighting as lights
from synthface.factors.pose import rotation_matrix

angles = st.floats(-180, 180)


@given(angles, st.floats(-90, 90), st.floats(0.1, 3))
@settings(max_examples=40, deadline=None)
def test_a_white_surface_facing_a_light_reads_its_intensity(azimuth: float, elevation: float, intensity: float) -> None:
    sh = lights.directional(azimuth, elevation, intensity)
    facing = lights.direction(azimuth, elevation)
    np.testing.assert_allclose(
        lights.shade(facing[None], sh[None])[0], np.full((1, 3), intensity).ravel()[None], rtol=1e-9
    )


def test_ambient_light_reads_its_level_everywhere() -> None:
    normals = np.eye(3)[None]
    np.testing.assert_allclose(lights.shade(normals, lights.ambient(np.array([0.4]))), 0.4)


def test_light_from_the_image_right_lights_the_image_right() -> None:
    shaded = lights.shade(np.array([[1.0, 0, 0], [-1.0, 0, 0]]), lights.directional(60.0, 0.0, 1.0))
    assert shaded[0, 0] > 0.5 > shaded[1, 0]


@given(st.floats(-170, 170), st.floats(-80, 80))
@settings(max_examples=40, deadline=None)
def test_the_dominant_direction_of_one_light_is_its_own(azimuth: float, elevation: float) -> None:
    sh = lights.ambient(0.3) + lights.directional(azimuth, elevation, 0.7, 4000.0)
    np.testing.assert_allclose(lights.dominant_direction(sh), [azimuth, elevation], atol=1e-6)


def test_even_light_has_no_direction() -> None:
    np.testing.assert_array_equal(lights.dominant_direction(lights.ambient(1.0)), [0.0, 0.0])


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_rotating_the_light_equals_rotating_the_normals_back(pitch: float, yaw: float, roll: float) -> None:
    rng = np.random.default_rng(3)
    sh, rotation = rng.normal(size=(3, 9)), rotation_matrix(np.array([pitch, yaw, roll]))
    normals = rng.normal(size=(20, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    turned = lights.shade(normals @ rotation.T, lights.rotate(sh, rotation))
    np.testing.assert_allclose(turned, lights.shade(normals, sh), atol=1e-10)


def test_an_environment_map_of_one_bright_spot_is_a_light_from_there() -> None:
    picture = np.zeros((64, 128, 3))
    picture[16, 96] = 1000.0  # a quarter of the way down: elevation 45; three quarters across: azimuth 90
    azimuth, elevation = lights.dominant_direction(lights.project_environment(picture))
    assert azimuth == pytest.approx(91.4, abs=1.5)
    assert elevation == pytest.approx(43.6, abs=1.5)


def test_a_grey_environment_is_ambient_light() -> None:
    sh = lights.project_environment(np.full((64, 128, 3), 0.7))
    np.testing.assert_allclose(lights.shade(np.eye(3), sh), 0.7, rtol=2e-3)


def test_colour_temperature_runs_from_red_to_blue_at_equal_luminance() -> None:
    rgb = lights.colour_of_temperature(np.array([2000.0, 3500.0, 6504.0, 12000.0]))
    assert (np.diff(rgb[:, 2] / rgb[:, 0]) > 0).all()
    np.testing.assert_allclose(rgb @ [0.2126, 0.7152, 0.0722], 1.0, atol=1e-3)
    np.testing.assert_allclose(rgb[2], 1.0, atol=0.05)


def test_the_authors_coefficients_convert_back_and_forth_and_shade_alike() -> None:
    gamma = np.random.default_rng(0).normal(0, 0.2, (5, 3, 9))
    np.testing.assert_allclose(lights.to_authors(lights.from_authors(gamma)), gamma, atol=1e-12)
    normal = np.array([[0.0, 0.0, 1.0]])
    full = gamma[0].copy()
    full[:, 0] += 0.8
    theirs = (lights.sh_basis(normal) * lights.AUTHORS_BANDS) @ full.T
    np.testing.assert_allclose(lights.shade(normal, lights.from_authors(gamma[0])), theirs, atol=1e-12)


@pytest.mark.parametrize("name", sorted(lights.PRESETS))
def test_presets_light_some_of_the_face_and_never_negatively_much(name: str) -> None:
    level, lamps = lights.PRESETS[name]
    sh = lights.ambient(level) + sum((lights.directional(*lamp) for lamp in lamps), np.zeros((3, 9)))
    z = np.linspace(-1, 1, 50)
    normals = np.stack([np.sqrt(1 - z**2), 0 * z, z], axis=1)
    shaded = lights.shade(normals, sh)
    assert shaded.max() > 0.15
    assert shaded.min() > -0.2
