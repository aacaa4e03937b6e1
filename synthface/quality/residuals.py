"""How far what was read off a picture is from what was asked for, factor by factor. Pure NumPy.

| name       | counted in                                                                                        |
|------------|---------------------------------------------------------------------------------------------------|
| pose_deg   | degrees: the angle of the rotation between the two heads                                           |
| expression | Euclidean distance of the named actions, each from 0 to 1                                          |
| lighting   | root mean square difference of what a white ball shows to the camera, each scaled to mean 1        |
| landmarks  | mean distance of the 68 points, as a share of the face's size (root of the area of their box)      |
| identity   | 1 − cos of centred f_id descriptors: the picture's and its identity's standard picture             |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.factors import lighting
from synthface.factors.pose import AXES, rotation_matrix
from synthface.spec.names import AUDIT_LIMITS

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]

FACTORS: tuple[str, ...] = tuple(AUDIT_LIMITS)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class Facts:
    """What is known, or was read, of N pictures; None where nothing is.

    Args:
        pose_rad: (N, 3) pitch, yaw, roll.
        expression: (N, Ke) named actions; both sides in the same order.
        sh: (N, 3, 9) lighting, camera frame.
        landmarks: (N, 68, 2) fractions of the picture.
        descriptors: (N, D) f_id, centred, of length 1.
    """

    pose_rad: Floats
    expression: Floats
    sh: Floats
    landmarks: Floats | None = None
    descriptors: Floats | None = None

    def __len__(self) -> int:
        return len(self.pose_rad)

    def __getitem__(self, rows: npt.NDArray[np.integer] | slice) -> Facts:
        parts: dict[str, Any] = {name: None if value is None else value[rows] for name, value in vars(self).items()}
        return Facts(**parts)


def residuals(asked: Facts, read: Facts) -> dict[str, F32]:
    """Factor to (N,); factors of which one side knows nothing are left out."""
    found: dict[str, Floats] = {
        "pose_deg": angle_between_deg(asked.pose_rad, read.pose_rad),
        "expression": np.linalg.norm(asked.expression - read.expression, axis=1),
        "lighting": lighting_difference(asked.sh, read.sh),
    }
    if asked.landmarks is not None and read.landmarks is not None:
        distance = np.linalg.norm(asked.landmarks - read.landmarks, axis=2).mean(axis=1)
        found["landmarks"] = distance / face_size(asked.landmarks)
    if asked.descriptors is not None and read.descriptors is not None:
        found["identity"] = 1.0 - (asked.descriptors * read.descriptors).sum(axis=1)
    return {name: values.astype(np.float32) for name, values in found.items()}


def signed(asked: Facts, read: Facts) -> dict[str, F32]:
    """Signed differences (N,), read − asked: what a set-level bias shows in.

    Angles of the head and of the light in degrees; landmarks as a share of the face's size, > 0 right and down.
    """
    off = np.degrees(np.asarray(read.pose_rad, np.float64) - asked.pose_rad)
    found: dict[str, Floats] = {f"{axis}_deg": _wrapped(off[:, number]) for number, axis in enumerate(AXES)}
    lights = lighting.dominant_direction(read.sh) - lighting.dominant_direction(asked.sh)
    found |= {"light_azimuth_deg": _wrapped(lights[:, 0]), "light_elevation_deg": lights[:, 1]}
    if asked.landmarks is not None and read.landmarks is not None:
        shift = (read.landmarks - asked.landmarks).mean(axis=1) / face_size(asked.landmarks)[:, None]
        found |= {"landmarks_x": shift[:, 0], "landmarks_y": shift[:, 1]}
    return {name: values.astype(np.float32) for name, values in found.items()}


def _wrapped(degrees: F64) -> F64:
    return (degrees + 180.0) % 360.0 - 180.0


def angle_between_deg(first_rad: Floats, second_rad: Floats) -> F64:
    """The angle (N,) of the rotation from one head (N, 3) to another."""
    trace = np.einsum("nij,nij->n", rotation_matrix(first_rad), rotation_matrix(second_rad))
    return np.degrees(np.arccos(np.clip((trace - 1.0) / 2.0, -1.0, 1.0)))


def lighting_difference(first: Floats, second: Floats) -> F64:
    """(N,) of lights (N, 3, 9): how differently they shade, exposure and colour left out.

    Exposure can't be told from skin tone in a picture, so each is scaled to mean 1 over the normals that face the camera.
    """
    shading = [np.maximum(lighting.shade(_facing(), sh) @ _LUMINANCE, 0.0) for sh in (first, second)]
    scaled = [values / np.maximum(values.mean(axis=1, keepdims=True), 1e-6) for values in shading]
    return np.asarray(np.sqrt(((scaled[0] - scaled[1]) ** 2).mean(axis=1)))


@lru_cache(maxsize=1)
def _facing() -> F64:
    """Normals (P, 3) spread evenly over the half of a sphere that faces the camera."""
    n = np.arange(64) + 0.5
    z, turn = 1 - n / 64, np.pi * (1 + 5**0.5) * n
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=-1)


def face_size(landmarks: Floats) -> F64:
    """The root of the area (N,) of the box round landmarks (N, L, 2)."""
    extent = landmarks.max(axis=1).astype(np.float64) - landmarks.min(axis=1)
    return np.sqrt(np.maximum(extent.prod(axis=1), 1e-12))


def excess(found: Mapping[str, Floats], limits: Mapping[str, float]) -> F64:
    """How far each picture (N,) is beyond its worst limit: over 1 it fails; 0 where nothing is limited."""
    shares = [np.asarray(values, np.float64) / limits[name] for name, values in found.items() if name in limits]
    count = len(next(iter(found.values()))) if found else 0
    return np.max(shares, axis=0) if shares else np.zeros(count)
