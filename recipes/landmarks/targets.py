"""What a picture's labels become when the picture is changed: 68 points in fractions of its side, and three angles.

The points follow the picture's own matrix. A turn of the picture about its middle is one of the head about the optical axis,
which is the last of its three rotations, so it adds to the roll; a mirror image swaps twins and changes the signs of yaw and
roll.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.common.pictures import AugmentSettings, augment, moved
from synthface.factors.mirror import LANDMARKS68

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

NUM_POINTS = 68


@dataclass(frozen=True)
class PrepareLandmarks:
    """A sample to (picture (3, size, size) uint8, points (68, 2) in fractions, (pitch, yaw, roll) in radians, visible (68,)).

    Args:
        size_px: of the network's pictures.
        settings: of the augmentation.
    """

    size_px: int
    settings: AugmentSettings

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> tuple[npt.NDArray[Any], ...]:
        """Augmented."""
        picture, matrix, mirrored = augment(sample["image"], self.size_px, self.settings, rng)
        labels = sample["labels"]
        points = moved(np.asarray(labels["landmarks68_px"], np.float64), matrix) / self.size_px
        visible = np.asarray(labels["landmarks68_visible"], bool)
        if mirrored:
            points, visible = points[LANDMARKS68], visible[LANDMARKS68]
        pose = np.radians([labels["pitch_deg"], labels["yaw_deg"], labels["roll_deg"]])
        turned = turned_pose(pose, matrix, mirrored).astype(np.float32)
        return np.ascontiguousarray(picture.transpose(2, 0, 1)), points.astype(np.float32), turned, visible


def turned_pose(pose_rad: F64, matrix: F64, mirrored: bool) -> F64:
    """(pitch, yaw, roll) in a picture that a similarity (2, 3), y down, has made of another."""
    linear = np.diag([-1.0, 1.0]) @ matrix[:, :2] if mirrored else matrix[:, :2]
    clockwise = np.arctan2(linear[1, 0], linear[0, 0])
    pitch, yaw, roll = pose_rad
    roll = roll - clockwise
    return np.array([pitch, -yaw, -roll] if mirrored else [pitch, yaw, roll])
