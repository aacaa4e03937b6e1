"""The three angles: signs as the README pictures them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from synthface.factors.pose import pose_of, rotation_matrix

small = st.floats(-1.4, 1.4)


@given(small, small, small)
def test_angles_come_back(pitch: float, yaw: float, roll: float) -> None:
    pose = np.array([pitch, yaw, roll])
    np.testing.assert_allclose(pose_of(rotation_matrix(pose)), pose, atol=1e-9)


def test_positive_yaw_turns_the_nose_to_the_image_right() -> None:
    assert (rotation_matrix(np.radians([0, 30, 0])) @ [0, 0, 1])[0] > 0


def test_positive_pitch_looks_down() -> None:
    assert (rotation_matrix(np.radians([30, 0, 0])) @ [0, 0, 1])[1] < 0


def test_positive_roll_is_counter_clockwise_in_the_image() -> None:
    top = rotation_matrix(np.radians([0, 0, 30])) @ [0, 1, 0]
    assert top[0] < 0 < top[1]


def test_rotations_are_rotations() -> None:
    rotation = rotation_matrix(np.random.default_rng(0).normal(size=(7, 3)))
    np.testing.assert_allclose(
        rotation @ np.swapaxes(rotation, -1, -2), np.broadcast_to(np.eye(3), (7, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
