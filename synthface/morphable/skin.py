"""The colour of skin as a number: ITA° of the reference skin, cheeks and the middle of the forehead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.factors.types import SkinColour

if TYPE_CHECKING:
    from synthface.morphable.basis import MorphableBasis

F64 = npt.NDArray[np.float64]

_D65 = np.array([0.95047, 1.0, 1.08883])
_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab_of(linear_rgb: F64) -> F64:
    """CIE L*, a*, b* (…, 3) of colours (…, 3), linear RGB, under D65."""
    xyz = by_row(linear_rgb, _XYZ_FROM_RGB.T) / _D65
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def colour_of(lab: F64) -> F64:
    """The colours (…, 3), linear RGB, of L*, a*, b* (…, 3): the way back."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _D65
    return by_row(xyz, np.linalg.inv(_XYZ_FROM_RGB).T)


def individual_typology_angle(linear_rgb: F64) -> F64:
    """ITA° (…) of colours (…, 3): atan2(L* − 50, b*) under D65; light skin has high values.

    Source: Chardon, Cretois and Hourseau 1991; CIE 15.
    """
    lightness, _, b = np.moveaxis(lab_of(linear_rgb), -1, 0)
    return np.degrees(np.arctan2(lightness - 50, b))


def by_row(rows: F64, matrix: npt.NDArray[Any]) -> F64:
    """rows @ matrix, of (…, 3) and (3, K), to the same bits however many rows there are."""
    return np.asarray(rows[..., 0, None] * matrix[0] + rows[..., 1, None] * matrix[1] + rows[..., 2, None] * matrix[2])


def mean_colour(colour: SkinColour, albedo: npt.NDArray[Any]) -> F64:
    """The reference skin's mean (N, 3), linear RGB, of albedo coefficients (N, Kt); the same bits in any batch."""
    rows = np.asarray(albedo, np.float64)
    return colour.mean + np.stack([row @ colour.steps for row in rows]) if len(rows) else np.zeros((0, 3))


def skin_colour(basis: MorphableBasis) -> SkinColour:
    """What albedo coefficients make of the reference skin's mean colour: exact, since the model is linear."""
    where = reference_skin(basis)
    mean = basis.mean_albedo[where].astype(np.float64).mean(axis=0)
    return SkinColour(mean, basis.albedo_basis[:, where].astype(np.float64).mean(axis=1))


def reference_skin(basis: MorphableBasis) -> npt.NDArray[np.bool_]:
    """(V,) cheeks and the middle of the forehead: plain skin that pictures see well and hair doesn't cover."""
    x, y, z = basis.mean_shape.T
    brows = basis.mean_shape[basis.landmarks68[17:27]]
    eyes = basis.mean_shape[basis.landmarks68[36:48]]
    mouth = basis.mean_shape[basis.landmarks68[48:68]]
    cheek = (y < eyes[:, 1].min() - 0.12) & (y > mouth[:, 1].mean() + 0.05) & (np.abs(x) > 0.22) & (np.abs(x) < 0.52)
    forehead = (y > brows[:, 1].max() + 0.08) & (y < brows[:, 1].max() + 0.25) & (np.abs(x) < 0.3)
    return plain_skin(basis) & (cheek | forehead) & (z > 0.2)


def plain_skin(basis: MorphableBasis) -> npt.NDArray[np.bool_]:
    """(V,) the face mask's vertices that touch nothing but plain skin: no lips, brows, eyes or nostrils."""
    numbers = {name: n for n, name in enumerate(basis.part_names)}
    quiet = [numbers[name] for name in ("skin", "neck", "scalp") if name in numbers]
    touched = np.zeros(basis.num_vertices, bool)
    touched[basis.faces[~np.isin(basis.face_part, quiet)]] = True
    # Another ring, so that the brows' soft edge stays out too.
    touched[basis.faces[touched[basis.faces].any(axis=1)]] = True
    plain = np.zeros(basis.num_vertices, bool)
    plain[basis.face_vertices] = True
    return plain & ~touched
