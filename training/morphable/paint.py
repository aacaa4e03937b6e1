"""The albedo to begin with: painted by hand on the mean head, until it is learned from photos.

Linear RGB. The skin is base tone × a pattern; component 0 moves the base tone from very dark to very light, the others
move what people differ in besides. None of them touches the forehead but the tone, so ITA° is measured there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthface.factors.types import AttributeAxis
from synthface.morphable.skin import individual_typology_angle
from training.morphable.head import PART, Head

F64 = npt.NDArray[np.float64]

#: Base tone at −3.3 and +3.3 standard deviations, so that a random one all but never leaves the range: deep brown and
#: very fair skin, linear RGB.
DARKEST, LIGHTEST, REACH = np.array([0.050, 0.0205, 0.0095]), np.array([0.84, 0.58, 0.435]), 3.3
COMPONENTS = ("skin tone", "cheek redness", "lip colour", "brow darkness", "iris colour", "scalp hair", "beard shadow")


@dataclass(frozen=True)
class Paint:
    """Mean (V, 3), components (K, V, 3) per standard deviation, and the forehead's vertices (V,)."""

    mean: F64
    components: F64
    forehead: npt.NDArray[np.bool_]


def skin_tone_axis(paint: Paint) -> AttributeAxis:
    """ITA° of the forehead as a function of component 0, inverted."""
    coefficients = np.linspace(-3.4, 3.6, 281)
    tone = paint.mean[paint.forehead].mean(axis=0)
    step = paint.components[0, paint.forehead].mean(axis=0)
    ita = individual_typology_angle((tone + coefficients[:, None] * step).clip(0, 1))
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(ita)) > 1e-9])
    return AttributeAxis("degree", ita[rising], coefficients[rising, None], "albedo", (0,))


def paint_head(head: Head, brow_points: F64) -> Paint:
    """Colour every vertex.

    Args:
        head: the head at rest, MakeHuman's frame.
        brow_points: (2, 5, 3) landmarks along the right and left brow, same frame.
    """
    part = _part_weights(head)
    x, y, z = head.vertices.T
    skin = np.clip(1 - sum(part[name] for name in part if name not in ("skin", "neck", "scalp", "ear", "lips")), 0, 1)
    lips = head.masks["lips"] * (part["mouth_interior"] < 0.5)
    brow = _brow(head, brow_points) * skin
    hair = _smooth(_hairline(head)) * np.maximum(skin, part["scalp"])
    lash = _lash_line(head) * skin
    cheek = sum(_bump(head.vertices, (s * 0.48, 6.92, 1.15), 0.30) for s in (-1, 1)) * skin
    nose = _bump(head.vertices, (0.0, 6.93, 1.75), 0.16) * skin
    ear = np.clip(part["ear"], 0, 1)
    nostril = sum(_bump(head.vertices, (s * 0.085, 6.865, 1.56), 0.045) for s in (-1, 1)) * skin
    beard = _beard(head) * skin * (1 - lips)
    red = np.clip(0.55 * cheek + 0.6 * nose + 0.6 * ear, 0, 1)
    tone_mean, tone_step = (DARKEST + LIGHTEST) / 2, (LIGHTEST - DARKEST) / (2 * REACH)
    pattern = np.ones((len(x), 3)) * (1 - red[:, None] * np.array([0.02, 0.16, 0.14]))
    pattern *= 1 - lips[:, None] * np.array([0.10, 0.48, 0.40])
    pattern *= 1 - 0.55 * nostril[:, None]
    pattern *= 1 - lash[:, None] * np.array([0.72, 0.76, 0.78])
    pattern *= 1 - brow[:, None] * np.array([0.72, 0.74, 0.74])
    pattern *= 1 - hair[:, None] * np.array([0.66, 0.66, 0.64])
    mean, tone = pattern * tone_mean, pattern * tone_step
    rest = _fixed_colours(head, part)
    fixed = rest[:, 0] >= 0
    mean[fixed], tone[fixed] = rest[fixed], 0.0
    skinlike = ~fixed
    components = np.stack(
        [
            tone,
            _tint(red * skinlike, mean, [0.01, -0.035, -0.03]),
            _tint(lips * skinlike, mean, [-0.02, -0.055, -0.045]),
            _tint(brow * skinlike, mean, [-0.11, -0.11, -0.10]),
            _iris_component(head, part),
            _tint(hair * skinlike, mean, [-0.12, -0.11, -0.10]),
            _tint(beard * skinlike, mean, [-0.028, -0.022, -0.016]),
        ]
    )
    forehead = (np.abs(x) < 0.45) & (np.abs(y - 7.72) < 0.10) & (z > 1.0) & (hair < 0.01) & (brow < 0.01)
    return Paint(mean.clip(0, 1), components, forehead)


def _tint(weight: F64, mean: F64, strength: list[float]) -> F64:
    return weight[:, None] * mean * np.array(strength)


def _part_weights(head: Head) -> dict[str, F64]:
    """Share of each vertex's triangles that belong to a part, left and right taken together."""
    count = np.bincount(head.faces.ravel(), minlength=len(head.vertices)).astype(float)
    weights: dict[str, F64] = {}
    for name, number in PART.items():
        key = name.removesuffix("_left").removesuffix("_right")
        share = np.bincount(head.faces[head.part == number].ravel(), minlength=len(count)) / np.maximum(count, 1)
        weights[key] = weights.get(key, np.zeros(len(count))) + share
    return weights


def _fixed_colours(head: Head, part: dict[str, F64]) -> F64:
    """Colours (V, 3) of what isn't skin; −1 where it is."""
    colour = np.full((len(head.vertices), 3), -1.0)
    angle = head.eye_angle_deg
    colour[part["eye_socket"] > 0.6] = (0.16, 0.07, 0.06)
    colour[part["mouth_interior"] > 0.6] = (0.085, 0.022, 0.02)
    colour[part["tongue"] > 0.5] = (0.36, 0.12, 0.115)
    colour[part["teeth"] > 0.5] = (0.74, 0.69, 0.58)
    white = angle >= 26
    vein = np.clip((angle - 40) / 40, 0, 1)[:, None]
    sclera = np.array([0.70, 0.66, 0.63]) * (1 - vein) + np.array([0.52, 0.34, 0.32]) * vein
    colour[white] = sclera[white]
    colour[(angle >= 0) & (angle < 26)] = (0.100, 0.072, 0.056)
    colour[(angle >= 12) & (angle < 17)] = (0.125, 0.090, 0.066)
    colour[(angle >= 24) & (angle < 26)] = (0.03, 0.018, 0.012)
    colour[(angle >= 0) & (angle < 10)] = (0.004, 0.004, 0.004)
    return colour


def _iris_component(head: Head, part: dict[str, F64]) -> F64:
    """From brown towards grey-blue; darker browns the other way."""
    ring = (head.eye_angle_deg >= 10) & (head.eye_angle_deg < 24)
    return ring[:, None] * np.array([0.008, 0.019, 0.020])


def _brow(head: Head, points: F64) -> F64:
    """1 on the brows, tapering to 0 over their outline."""
    nearest = np.full(len(head.vertices), np.inf)
    # Landmarks follow the brow's upper edge; its middle lies lower at the temple and not at all at the nose.
    lift = np.zeros((5, 3))
    lift[:, 1] = (-0.005, -0.012, -0.012, -0.005, 0.028)
    for line in (points[0] + lift, points[1] + lift[::-1]):
        for k in range(len(line) - 1):
            a, b = line[k], line[k + 1]
            t = np.clip((head.vertices - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            offset = head.vertices - a - t[:, None] * (b - a)
            # Thinner towards the temple, and wider along the arch than across it.
            width = 0.034 - 0.014 * abs((k + t) / (len(line) - 1) - 0.35)
            nearest = np.minimum(nearest, np.linalg.norm(offset, axis=1) / width)
    return np.clip(1.55 - nearest, 0, 1) ** 0.8


def _hairline(head: Head) -> F64:
    """Height above the hairline in dm, positive on the scalp."""
    x, y, z = head.vertices.T
    top = 7.98 - 0.25 * np.abs(x) ** 2
    side = 6.85 + np.clip((z - 0.15) * 2.2, -0.25, 2.0)
    return y - np.minimum(top, side)


def _smooth(distance: F64) -> F64:
    t = np.clip(distance / 0.22 + 0.3, 0, 1)
    return t * t * (3 - 2 * t)


def _lash_line(head: Head) -> F64:
    """1 on the lids' rims: skin vertices that touch the eyeball's front."""
    eyeball = head.vertices[(head.eye_angle_deg >= 0) & (head.eye_angle_deg < 75)]
    from scipy.spatial import cKDTree

    distance, _ = cKDTree(eyeball).query(head.vertices)
    return np.clip(1 - (distance - 0.012) / 0.022, 0, 1) * (head.eye_angle_deg < 0) * (head.vertices[:, 2] > 1.2)


def _bump(vertices: F64, centre: tuple[float, float, float], radius: float) -> F64:
    return np.exp(-(((vertices - np.array(centre)) / radius) ** 2).sum(axis=1))


def _beard(head: Head) -> F64:
    """1 on chin, jaw and upper lip."""
    x, y, z = head.vertices.T
    jaw = np.clip((6.78 + 0.25 * np.abs(x) - y) / 0.12, 0, 1) * np.clip((z - 0.35) / 0.3, 0, 1)
    return jaw * np.clip((y - 6.1) / 0.1, 0, 1)
