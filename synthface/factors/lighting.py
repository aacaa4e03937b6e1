"""Light as nine spherical-harmonic coefficients per colour channel, and everything that can be turned into them.

`sh[c, k]` are the coefficients of the *radiance* arriving from all directions, in the order and signs
(1, −y, z, −x, xy, −yz, 3z²−1, −xz, x²−y²) times the usual constants. A surface with normal n and linear albedo T shows
T_c · Σ_k a_k Y_k(n) sh[c, k] with the Lambertian band factors a = π, 2π/3, π/4, radiance being counted so that ambient
light of radiance 1/π reads 1.

Directions: azimuth 0 = from the camera, > 0 from the image's right; elevation > 0 from above.

Source: Ramamoorthi and Hanrahan 2001; Deng et al. 2020, Sec. 3.1. The authors use π, 2π/√3, 2π/√8 instead and offset the
constant term by 0.8; `from_authors` and `to_authors` convert.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
F64 = npt.NDArray[np.float64]

NUM_COEFFICIENTS = 9
BAND_OF = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
#: Constants of the real spherical harmonics, in our order; the polynomials' signs are in `sh_basis`.
CONSTANTS = np.array(
    [
        math.sqrt(1 / (4 * math.pi)),
        *[math.sqrt(3 / (4 * math.pi))] * 3,
        *[math.sqrt(15 / (4 * math.pi))] * 2,
        math.sqrt(5 / (16 * math.pi)),
        math.sqrt(15 / (4 * math.pi)),
        math.sqrt(15 / (16 * math.pi)),
    ]
)
#: a_k: what each band of radiance weighs in a Lambertian surface's irradiance.
LAMBERT = np.array([math.pi, 2 * math.pi / 3, math.pi / 4])[BAND_OF]
AUTHORS_BANDS = np.array([math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)])[BAND_OF]
AUTHORS_OFFSET = 0.8
#: Σ_k a_k Y_k(d)² = 17/16 for any d: what nine terms make of a light of unit coefficients facing a surface.
_FACING = 17.0 / 16.0
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
MIN_KELVIN, MAX_KELVIN = 1000.0, 40000.0


def direction(azimuth_deg: Floats | float, elevation_deg: Floats | float) -> F64:
    """Unit vectors (…, 3) towards a light, world frame."""
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    return np.stack(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation) + 0 * azimuth, np.cos(azimuth) * np.cos(elevation)],
        axis=-1,
    )


def sh_basis(directions: Floats) -> F64:
    """Y_k(d) (…, 9) of unit vectors (…, 3)."""
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    one = np.ones_like(x)
    terms = (one, -y, z, -x, x * y, -y * z, 3 * z * z - 1, -x * z, x * x - y * y)
    return np.stack(terms, axis=-1) * CONSTANTS


def shade(normals: Floats, sh: Floats) -> F64:
    """Linear RGB (…, P, 3) that a white surface shows at normals (…, P, 3) under sh (…, 3, 9)."""
    weighted = np.asarray(sh, np.float64) * LAMBERT
    return np.einsum("...pk,...ck->...pc", sh_basis(normals), weighted)


def ambient(level: Floats | float) -> F64:
    """White light from everywhere, sh (…, 3, 9): a white surface reads `level`."""
    level = np.asarray(level, np.float64)
    sh = np.zeros((*level.shape, 3, NUM_COEFFICIENTS))
    sh[..., 0] = (level / (LAMBERT[0] * CONSTANTS[0]))[..., None]
    return sh


def directional(
    azimuth_deg: Floats | float,
    elevation_deg: Floats | float,
    intensity: Floats | float = 1.0,
    kelvin: Floats | float | None = None,
) -> F64:
    """A distant light, sh (…, 3, 9): a white surface facing it reads `intensity` in luminance.

    Args:
        azimuth_deg, elevation_deg, intensity: arrays of one shape (…).
        kelvin: its colour temperature (…), white at about 6500; None is white.
    """
    basis = sh_basis(direction(azimuth_deg, elevation_deg)) / _FACING
    scaled = basis * np.asarray(intensity, np.float64)[..., None]
    colour = np.ones((*scaled.shape[:-1], 3)) if kelvin is None else colour_of_temperature(kelvin)
    return colour[..., :, None] * scaled[..., None, :]


def colour_of_temperature(kelvin: Floats | float) -> F64:
    """Linear sRGB (…, 3) of a black body, of luminance 1, white (1, 1, 1) at 6500 K daylight as nearly as it goes.

    Source: chromaticity by the cubic splines of Kim et al. (US patent 7024034, 2002), 1667–25000 K, held constant
    outside; colours outside sRGB are brought to its edge along the line to white.
    """
    t = np.clip(np.asarray(kelvin, np.float64), 1667.0, 25000.0)
    warm = -0.2661239e9 / t**3 - 0.2343589e6 / t**2 + 0.8776956e3 / t + 0.179910
    cool = -3.0258469e9 / t**3 + 2.1070379e6 / t**2 + 0.2226347e3 / t + 0.240390
    x = np.where(t <= 4000, warm, cool)
    y = np.select(
        [t <= 2222, t <= 4000],
        [
            -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683,
            -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867,
        ],
        3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483,
    )
    xyz = np.stack([x / y, np.ones_like(x), (1 - x - y) / y], axis=-1)
    rgb = xyz @ _RGB_FROM_XYZ.T
    least = rgb.min(axis=-1, keepdims=True)
    towards_white = np.where(least < 0, -least / np.where(least < 0, 1 - least, 1.0), 0.0)
    return rgb * (1 - towards_white) + towards_white


_RGB_FROM_XYZ = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.9692660, 1.8760108, 0.0415560],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)


def rotate(sh: Floats, rotation: Floats) -> F64:
    """The lighting sh (…, 3, 9) turned by rotation matrices (…, 3, 3): light from d now comes from R d.

    Exact: rotation maps each band onto itself, so nine directions in general position determine it.
    """
    rotation = np.asarray(rotation, np.float64)
    turned_back = np.einsum("pj,...ji->...pi", _PROBES, rotation)  # Rᵀ d
    radiance = np.einsum("...pk,...ck->...cp", sh_basis(turned_back), np.asarray(sh, np.float64))
    return np.einsum("...cp,kp->...ck", radiance, _PROBES_INVERSE)


def _probe_directions() -> F64:
    """Nineteen directions on a spiral: more than nine, so that the fit is well conditioned."""
    n = np.arange(19) + 0.5
    z, turn = 1 - 2 * n / 19, np.pi * (1 + 5**0.5) * n
    return np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], axis=-1)


_PROBES = _probe_directions()
_PROBES_INVERSE = np.linalg.pinv(sh_basis(_PROBES))  # (9, P)


def dominant_direction(sh: Floats) -> F64:
    """Azimuth and elevation (…, 2) in degrees of the first band's direction, weighted by luminance; 0, 0 without one.

    Source: Ramamoorthi and Hanrahan 2001; the usual "optimal linear" direction of an SH light.
    """
    first = np.einsum("...ck,c->...k", np.asarray(sh, np.float64)[..., 1:4], _LUMINANCE)
    x, y, z = -first[..., 2], -first[..., 0], first[..., 1]
    none = x * x + y * y + z * z < 1e-12
    azimuth = np.where(none, 0.0, np.degrees(np.arctan2(x, z)))
    elevation = np.where(none, 0.0, np.degrees(np.arctan2(y, np.hypot(x, z))))
    return np.stack([azimuth, elevation], axis=-1)


def project_environment(radiance: Floats) -> F64:
    """An equirectangular environment map (H, W, 3), linear, as sh (3, 9).

    The middle column is straight ahead of the face (azimuth 0, where the camera is), columns to the right of it have
    azimuth > 0; the top row is straight up. Scaled so that a grey map of value 1 makes a white surface read 1.
    """
    radiance = np.asarray(radiance, np.float64)
    height, width = radiance.shape[:2]
    elevation = 90.0 - (np.arange(height) + 0.5) * (180.0 / height)
    azimuth = (np.arange(width) + 0.5) * (360.0 / width) - 180.0
    rows = np.cos(np.radians(elevation)) * np.radians(180.0 / height) * np.radians(360.0 / width)
    sh = np.zeros((3, NUM_COEFFICIENTS))
    for row, solid_angle in enumerate(rows):
        basis = sh_basis(direction(azimuth, np.full(width, elevation[row])))
        sh += solid_angle * np.einsum("wc,wk->ck", radiance[row, :, :3], basis)
    return sh / np.pi


def from_authors(gamma: Floats) -> F64:
    """The authors' coefficients (…, 3, 9) → ours, giving the same shading."""
    full = np.asarray(gamma, np.float64).copy()
    full[..., 0] += AUTHORS_OFFSET
    return full * (AUTHORS_BANDS / LAMBERT)


def to_authors(sh: Floats) -> F64:
    """Ours (…, 3, 9) → the authors' coefficients, giving the same shading."""
    gamma = np.asarray(sh, np.float64) * (LAMBERT / AUTHORS_BANDS)
    gamma[..., 0] -= AUTHORS_OFFSET
    return gamma


#: Studio set-ups: ambient level, and (azimuth, elevation, intensity, kelvin) of each light.
PRESETS: Mapping[str, tuple[float, tuple[tuple[float, float, float, float | None], ...]]] = {
    "ambient": (1.0, ()),
    "frontal": (0.35, ((0, 15, 0.7, None),)),
    "butterfly": (0.25, ((0, 50, 0.9, None), (0, -30, 0.15, None))),
    "loop": (0.25, ((35, 35, 0.9, None), (-45, 5, 0.15, None))),
    "rembrandt": (0.15, ((50, 45, 1.0, None), (-60, 0, 0.12, None))),
    "split": (0.1, ((90, 10, 1.1, None),)),
    "rim": (0.2, ((150, 25, 0.9, None), (-150, 25, 0.9, None))),
    "backlit": (0.35, ((180, 30, 1.2, None),)),
    "overcast": (0.55, ((0, 90, 0.55, 7500.0),)),
    "golden_hour": (0.3, ((65, 10, 0.9, 3200.0), (-90, 40, 0.2, 9000.0))),
    "under": (0.15, ((0, -50, 0.9, None),)),
}
