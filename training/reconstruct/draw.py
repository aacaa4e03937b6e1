"""Random λ for the renderings that the reconstruction network learns from: wide poses, every named action, many lights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthface.factors import lighting
from training.lambda_table import LambdaTable

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

#: Greatest |angle| of pitch, yaw and roll, degrees.
POSE_LIMIT_DEG = (30.0, 65.0, 30.0)


@dataclass(frozen=True)
class Geometry:
    """What decides where things are in a picture.

    Args:
        shape: (N, Ks).
        expression: (N, Ke) in [0, 1].
        pose_rad: (N, 3).
    """

    shape: F32
    expression: F32
    pose_rad: F32


def draw_geometry(
    num: int, num_shape: int, names: Sequence[str], table: LambdaTable | None, *, rng: np.random.Generator
) -> Geometry:
    """N random heads; a part of their shapes and expressions are those of the table's rows, each drawn by itself."""
    shape = rng.normal(size=(num, num_shape)) * rng.uniform(0.5, 1.3, (num, 1))
    expression = draw_expression(num, names, rng=rng)
    if table is not None:
        rows = table.columns["shape"][rng.integers(len(table), size=num)]
        shape = np.where(rng.random((num, 1)) < 0.5, rows + 0.3 * rng.normal(size=shape.shape), shape)
        rows = table.columns["expression"][rng.integers(len(table), size=num)]
        # Some with an action on top: photos' faces seldom do more than smile.
        expression = np.where(rng.random((num, 1)) < 0.35, np.maximum(rows, _rare(expression, rng)), expression)
    as_f32 = (x.astype(np.float32) for x in (shape, expression, draw_pose(num, rng=rng)))
    return Geometry(*as_f32)


def draw_pose(num: int, *, rng: np.random.Generator) -> F64:
    """Angles (N, 3), rad: two thirds anywhere within the limits, the others near frontal."""
    limit = np.radians(POSE_LIMIT_DEG)
    wide = rng.uniform(-1, 1, (num, 3)) * limit
    mild = np.clip(rng.normal(size=(num, 3)) * np.radians([8.0, 14.0, 6.0]), -limit, limit)
    return np.where(rng.random((num, 1)) < 2 / 3, wide, mild)


def draw_expression(num: int, names: Sequence[str], *, rng: np.random.Generator) -> F64:
    """Actions (N, Ke): one in ten at rest, a third a single one, the rest up to six at once; mostly both sides alike."""
    groups = together(names)
    strength = np.zeros((num, len(names)))
    count = np.where(rng.random(num) < 0.35, 1, rng.integers(2, 7, num)) * (rng.random(num) >= 0.1)
    for n in range(num):
        for g in rng.permutation(len(groups))[: count[n]]:
            members = np.array(groups[g])
            value = rng.uniform(0, 1)
            if len(members) > 1 and rng.random() < 0.3:
                members = members[[rng.integers(len(members))]]
            strength[n, members] = np.clip(value + 0.1 * rng.normal(size=len(members)), 0, 1)
    return strength


def together(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Actions that usually go together: both sides of one; of the gaze, the eye that looks in with the one that looks out."""
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        gaze = re.fullmatch(r"eye_look_(in|out)_(left|right)", name)
        if gaze:
            key = "gaze " + ("left" if gaze[1] + gaze[2] in ("outleft", "inright") else "right")
        else:
            # `jaw_left` and `mouth_left` are directions, and have no second side to go with.
            is_direction = name in ("jaw_left", "jaw_right", "mouth_left", "mouth_right")
            key = name if is_direction else re.sub(r"_(left|right)$", "", name)
        groups.setdefault(key, []).append(number)
    return [tuple(group) for group in groups.values()]


def draw_light(num: int, table: LambdaTable | None, *, rng: np.random.Generator) -> F32:
    """Lighting (N, 3, 9): a third as in the table's rows, turned a little; the rest ambient light and one to three lamps."""
    level = rng.uniform(0.1, 0.9, num)
    sh = lighting.ambient(level)
    for k in range(3):
        kelvin = np.where(rng.random(num) < 0.5, np.exp(rng.uniform(np.log(2500), np.log(14000), num)), 6500.0)
        intensity = rng.uniform(0.1, 1.2, num) * (rng.random(num) < (1.0, 0.5, 0.25)[k]) / (1 + 0.6 * k)
        lamp = lighting.directional(rng.uniform(-130, 130, num), rng.uniform(-60, 85, num), intensity, kelvin)
        sh = sh + lamp
    exposure = np.exp(0.25 * rng.normal(size=num)) * 0.8 / _constant(sh)
    # Half are exposed like the table's photos, half as they come.
    sh = sh * np.where(rng.random(num) < 0.5, exposure, 1.0)[:, None, None]
    if table is not None:
        rows = table.columns["sh"][rng.integers(len(table), size=num)].reshape(-1, 3, 9).astype(np.float64)
        rows = rows * np.exp(0.1 * rng.normal(size=num))[:, None, None]
        rows[..., 1:] = rows[..., 1:] * np.exp(0.3 * rng.normal(size=num))[:, None, None]
        sh = np.where(rng.random((num, 1, 1)) < 1 / 3, rows, sh)
    return sh.astype(np.float32)


def draw_albedo(num: int, num_albedo: int, table: LambdaTable | None, *, rng: np.random.Generator) -> F32:
    """Albedo coefficients (N, Kt): standard normal, half of them near a row of the table."""
    albedo = rng.normal(size=(num, num_albedo))
    if table is not None:
        rows = table.columns["albedo"][rng.integers(len(table), size=num)] + 0.3 * albedo
        albedo = np.where(rng.random((num, 1)) < 0.5, rows, albedo)
    return albedo.astype(np.float32)


def _constant(sh: F64) -> F64:
    """(N,) what a white surface shows of the constant term, in luminance."""
    level = lighting.LAMBERT[0] * lighting.CONSTANTS[0] * (sh[..., 0] @ np.array([0.2126, 0.7152, 0.0722]))
    return np.maximum(level, 1e-6)


def _rare(expression: F64, rng: np.random.Generator) -> F64:
    return expression * (rng.random((len(expression), 1)) < 0.3)
