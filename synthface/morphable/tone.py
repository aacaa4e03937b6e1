"""Give skin another tone: ITA° is met exactly, and what a face shows besides stays in proportion to its skin.

Skin is lightened along what the portraits show and darkened by gains: red, green and blue of brows, lips, beard, ears and
neck are all multiplied by what turns the old mean colour into the new one. Gains aren't quite within reach of albedo
components, so the nearest coefficients are taken, nearest as the eye sees deep skin.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.factors.types import AttributeAxis
from synthface.morphable.skin import (
    by_row,
    colour_of,
    individual_typology_angle,
    lab_of,
    mean_colour,
    reference_skin,
    skin_colour,
)

if TYPE_CHECKING:
    from synthface.morphable.basis import MorphableBasis

F64 = npt.NDArray[np.float64]

#: ITA°, a*, b* of skin deeper than the portraits': red and yellow fade with lightness, as in the deep steps of the Monk scale
#: (its seventh to ninth have L* 42, 31, 21; a* 13, 12, 3; b* 20, 13, 6).
DEEP = np.array([[-77.0, 6.5, 6.0], [-60.0, 9.5, 10.0], [-40.0, 13.0, 15.5], [-20.0, 14.5, 20.5]])
#: How many standard deviations of mean colour count as shown by the portraits, and degrees to fade over beyond them.
_SHOWN, _FADE_DEG = 3.0, 10.0
#: A person's own redness and yellowness over the usual ones: kept within these bounds.
_UNDERTONE = (0.8, 1.25)
#: The tone at which errors are weighed as the eye sees them, °.
_SEEN_AT_DEG = -45.0
_NUM_STEPS = 400


def tone_axis(basis: MorphableBasis, axis: AttributeAxis) -> AttributeAxis:
    """The axis measured on this model's own reference skin, with all that `with_tone` needs.

    Args:
        basis: a model whose albedo was learned.
        axis: skin tones as the model's file has them, on three components or more that make up the mean colour.
    """
    colour = skin_colour(basis)
    own = colour.steps[list(axis.components)]
    path = _path(colour.mean + axis.coefficients @ own, np.linalg.norm(axis.coefficients, axis=1) < _SHOWN)
    values = individual_typology_angle(path)
    gains = _gains(basis, axis, path[np.abs(values - _SEEN_AT_DEG).argmin()])
    coefficients = by_row(path - colour.mean, np.linalg.pinv(own))
    return replace(axis, values=values, coefficients=coefficients, colour=replace(colour, gains=gains))


def with_tone(axis: AttributeAxis, ita_deg: F64, albedo: npt.NDArray[Any]) -> F64:
    """Coefficients (N, Kt) of the same people with skin tones (N,): their own where they have that tone already.

    Args:
        axis: from `tone_axis`.
        ita_deg: (N,) within the axis's values.
        albedo: (N, Kt).
    """
    colour, own = axis.colour, list(axis.components)
    assert colour is not None and colour.gains is not None
    albedo = np.asarray(albedo, np.float64)
    before = mean_colour(colour, albedo)
    after = _asked(axis, ita_deg, before)
    gain = (after / before.clip(1e-3)).clip(0.02, 1.0)
    # Row by row, so that a person is the same to the last bit in any batch.
    changed = np.empty_like(albedo)
    for n, row in enumerate(albedo):
        red, green, blue = (gain[n] - 1)[:, None] * (row @ colour.gains[:, 1:] + colour.gains[:, 0])
        changed[n] = row + red + green + blue
    # What is left goes the portraits' way: all of it where skin grows lighter.
    left = after - mean_colour(colour, changed)
    changed[:, own] = changed[:, own] + by_row(left, np.linalg.pinv(colour.steps[own]))
    return changed


def _asked(axis: AttributeAxis, ita_deg: F64, before: F64) -> F64:
    """Mean colours (N, 3) with these ITA°, redder or yellower than usual by as much as these people's (N, 3) were before."""
    assert axis.colour is not None
    usual = lab_of(axis.colour.mean + axis.coefficients @ axis.colour.steps[list(axis.components)])

    def chroma(ita: F64) -> F64:
        return np.stack([np.interp(ita, axis.values, usual[:, n]) for n in (1, 2)], axis=-1)

    then = lab_of(before.clip(1e-4, 1.0))
    undertone = (then[:, 1:] / chroma(individual_typology_angle(before.clip(1e-4, 1.0)))).clip(*_UNDERTONE)
    a, b = (chroma(ita_deg) * undertone).T
    return colour_of(np.stack([50 + b * np.tan(np.radians(ita_deg)), a, b], axis=-1))


def _path(colours: F64, shown: npt.NDArray[np.bool_]) -> F64:
    """Mean colours (K, 3) by ITA°: the file's, but where they leave below what portraits show, published chroma."""
    ita, usual = individual_typology_angle(colours.clip(1e-4, 1.0)), lab_of(colours.clip(1e-4, 1.0))
    lowest = ita[shown].min()
    deep = DEEP[DEEP[:, 0] < lowest - _FADE_DEG]
    kept = (ita >= lowest) & np.concatenate([[True], np.diff(np.maximum.accumulate(ita)) > 1e-9])
    known, a, b = (np.concatenate([deep[:, n], part[kept]]) for n, part in enumerate((ita, usual[:, 1], usual[:, 2])))
    angles = np.linspace(known[0], known[-1], _NUM_STEPS)
    a, b = np.interp(angles, known, a), np.interp(angles, known, b)
    return colour_of(np.stack([50 + b * np.tan(np.radians(angles)), a, b], axis=-1))


def _gains(basis: MorphableBasis, axis: AttributeAxis, seen: F64) -> F64:
    """(3, 1 + Kt, Kt): row 0 holds the coefficients nearest to the mean's red, green or blue alone, row 1 + k to component k's.

    Only skin counts, whatever the tone's own components reach, and only components that act on it.

    Args:
        seen: (3,) the colour that errors are weighed at.
    """
    skin = (basis.albedo_basis[list(axis.components)] != 0).any(axis=(0, 2))
    acting = np.flatnonzero((basis.albedo_basis[:, skin] != 0).any(axis=(1, 2)))
    reference = reference_skin(basis)
    # The reference skin's mean comes as one more vertex, a thousand times as heavy as all that it is the mean of.
    mean, parts = (
        np.concatenate([x[..., skin, :], x[..., reference, :].mean(axis=-2, keepdims=True)], axis=-2)
        for x in (basis.mean_albedo.astype(np.float64), basis.albedo_basis[acting].astype(np.float64))
    )
    weight = 1 / (mean.mean(axis=1) + 0.02)
    weight[-1] *= 1000 * reference.sum()
    jacobian = np.stack([(lab_of(seen + step) - lab_of(seen - step)) / 2e-5 for step in 1e-5 * np.eye(3)], axis=1)
    metric = jacobian.T @ jacobian / np.trace(jacobian.T @ jacobian)
    weighed = (parts @ metric) * weight[:, None]  # (K, V + 1, 3)
    precision = weighed.reshape(len(parts), -1) @ parts.reshape(len(parts), -1).T
    precision += 1e-4 * np.eye(len(parts))
    gains = np.zeros((3, 1 + basis.num_albedo, basis.num_albedo))
    rows = np.concatenate([[0], 1 + acting])
    for channel in range(3):
        wanted = np.concatenate([mean[None, :, channel], parts[:, :, channel]])  # (1 + K, V + 1)
        gains[channel][np.ix_(rows, acting)] = np.linalg.solve(precision, weighed[:, :, channel] @ wanted.T).T
    return gains
