"""Head rotation: what the three angles mean, once for the whole project.

θ = (pitch, yaw, roll): right-handed rotations about the world's x (to the image's right), y (up) and z (towards the
viewer) axes, applied in that order: R = R_z(roll) R_y(yaw) R_x(pitch). So pitch > 0 looks down, yaw > 0 turns the face to
the image's right (the subject's own left), roll > 0 turns the head counter-clockwise in the image.

Source: Deng et al. 2020, supplement (rotations about x, y, z).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

PITCH, YAW, ROLL = 0, 1, 2
AXES = ("pitch", "yaw", "roll")


def rotation_matrix(pose_rad: Floats) -> npt.NDArray[np.float64]:
    """Rotation matrices (…, 3, 3) of angles (…, 3) in radians: head coordinates (columns) to world coordinates."""
    pose = np.asarray(pose_rad, np.float64)
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(pose), -1, 0), np.moveaxis(np.sin(pose), -1, 0)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def pose_of(rotation: Floats) -> npt.NDArray[np.float64]:
    """Angles (…, 3) in radians of rotation matrices (…, 3, 3); |yaw| ≤ 90°. The inverse of `rotation_matrix`."""
    r = np.asarray(rotation, np.float64)
    pitch = np.arctan2(r[..., 2, 1], r[..., 2, 2])
    yaw = np.arctan2(-r[..., 2, 0], np.hypot(r[..., 2, 1], r[..., 2, 2]))
    roll = np.arctan2(r[..., 1, 0], r[..., 0, 0])
    return np.stack([pitch, yaw, roll], axis=-1)
