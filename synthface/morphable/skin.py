"""The colour of skin as a number: ITA° of the reference skin, cheeks and the middle of the forehead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synthface.factors.types import AttributeAxis, SkinColour

if TYPE_CHECKING:
    from synthface.morphable.basis import MorphableBasis

F64 = npt.NDArray[np.float64]

_D65 = np.array([0.95047, 1.0, 1.08883])
_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def individual_typology_angle(linear_rgb: F64) -> F64:
    """ITA° (…) of colours (…, 3): atan2(L* − 50, b*) under D65; light skin has high values.

    Source: Chardon, Cretois and Hourseau 1991; CIE 15.
    """
    xyz = linear_rgb @ _XYZ_FROM_RGB.T / _D65
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness, b = 116 * f[..., 1] - 16, 200 * (f[..., 1] - f[..., 2])
    return np.degrees(np.arctan2(lightness - 50, b))


def measured_axis(basis: MorphableBasis, axis: AttributeAxis) -> AttributeAxis:
    """The axis with its values measured on this model's own reference skin, and what to read skin tones off."""
    colour = skin_colour(basis)
    path = colour.mean + axis.coefficients @ colour.steps[list(axis.components)]
    values = individual_typology_angle(path.clip(1e-4, 1.0))
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(values)) > 1e-9])
    return replace(axis, values=values[rising], coefficients=axis.coefficients[rising], colour=colour)


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
