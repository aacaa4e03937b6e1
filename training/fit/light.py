"""Light and skin apart: SH lighting of each photo from its face's colour, and the albedo that is left.

Even light makes the two inseparable, so the gauge is chosen: light is nine monochrome coefficients of a fixed exposure and a
small white balance, fitted against the mean albedo; all remaining tone, exposure included, is albedo. The mean albedo
carries no part that light could explain (its logarithm's regression on the SH of the normals is taken out).

Exposure is what a white ball shows the camera, averaged over its disc. Fixing the constant term instead would not do: on a
face that looks at the camera it trades places with the light from the front, and may come out as next to nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from synthface.factors.lighting import CONSTANTS, LAMBERT
from synthface.morphable.lighting import sh_basis

#: The exposure of every light.
EXPOSURE = 1.0
#: What a light is before a photo is seen, over the mean shade, in units of the constant's irradiance: mean and standard
#: deviation of each coefficient. Flattering light comes from the front and above.
_EXPECTED = torch.tensor([0.8, -0.1, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
_DEVIATION = torch.tensor([0.2, 0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1])
#: Share of a photo's unusual tint (beyond what skin does) that is put down to white balance.
_TINT_SHARE = 0.6
LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])
#: Log-luminance error beyond which a vertex loses trust, and the variance of what neighbouring vertices err together.
_ROBUST, _NOISE = 0.15, 2e-3


class Light(NamedTuple):
    """Lighting of N photos.

    Args:
        mono: (N, 9) coefficients of its luminance, of exposure `EXPOSURE`.
        tint: (N, 3) white balance: each channel's factor, luminance-weighted mean 1.
        tone: (N, 3) mean ratio of the photo's skin to the mean albedo, after light and tint.
        trust: (N, V) what is left of the weights after the robust fit, in [0, 1]: low on hair, hands, glasses.
    """

    mono: Tensor
    tint: Tensor
    tone: Tensor
    trust: Tensor

    @property
    def sh(self) -> Tensor:
        """(N, 3, 9) full coefficients per channel."""
        return self.tint[:, :, None] * self.mono[:, None]


def fit_light(
    colour: Tensor, normals: Tensor, weight: Tensor, albedo: Tensor, *, rounds: int = 6, batch: int = 250
) -> Light:
    """Fit the lighting of N photos against one mean albedo.

    Args:
        colour: (N, V, 3) linear RGB at vertices.
        normals: (N, V, 3) unit, camera frame.
        weight: (N, V) how far each vertex may be believed; 0 on lips, brows and whatever else isn't plain skin.
        albedo: (V, 3) the mean, linear RGB.
        rounds: of reweighting.
        batch: photos at a time.
    """
    parts = [
        _fit(*(x[k : k + batch].float() for x in (colour, normals, weight)), albedo, rounds)
        for k in range(0, len(colour), batch)
    ]
    mono, ratio, trust = (torch.cat(x) for x in zip(*parts, strict=True))
    tint = _tint(ratio)
    return Light(mono, tint, ratio / tint, trust)


def exposure(relative: Tensor) -> Tensor:
    """What a white ball shows on average (…,), of coefficients (…, 9) in units of the constant's irradiance; at least 0.3.

    Over the ball's disc, normals are cosine-weighted on the hemisphere: z is 2/3 on average, 3z² − 1 is 1/2, all else 0.
    """
    scale = torch.tensor([a * c for a, c in zip(LAMBERT, CONSTANTS, strict=True)], dtype=relative.dtype)
    average = scale / scale[0] * torch.tensor([1, 0, 2 / 3, 0, 0, 0, 1 / 2, 0, 0], dtype=relative.dtype)
    return (relative @ average).clamp_min(0.3)


def _fit(colour: Tensor, normals: Tensor, weight: Tensor, albedo: Tensor, rounds: int) -> tuple[Tensor, Tensor, Tensor]:
    basis = sh_basis(normals) * torch.tensor(LAMBERT, dtype=torch.float32)  # (N, V, 9) irradiance per coefficient
    constant = float(basis[0, 0, 0])
    unit = basis / constant
    relative = (colour @ LUMINANCE) / (albedo @ LUMINANCE)  # tone × shading
    level = ((relative * weight).sum(1) / weight.sum(1).clamp_min(1e-6)).clamp_min(1e-3)[:, None]
    relative = relative / level
    ridge = torch.diag(_NOISE / _DEVIATION**2)
    trust, shade = torch.ones_like(weight), torch.ones_like(weight)
    for _ in range(rounds):
        kept = weight * trust
        # Relative errors count, in shadow as in light; relative to the fit: dark hair would outweigh the skin otherwise.
        w = kept / shade**2 / kept.sum(1, keepdim=True).clamp_min(1e-6)
        matrix = torch.einsum("nvi,nv,nvj->nij", unit, w, unit) + ridge
        solved = torch.linalg.solve(matrix, torch.einsum("nvi,nv,nv->ni", unit, w, relative) + ridge @ _EXPECTED)
        shade = torch.einsum("nvi,ni->nv", unit, solved).clamp_min(0.2)
        error = (relative / shade).clamp_min(0.05).log()
        trust = (1 + (error / _ROBUST) ** 2) ** -1
    mono = solved * (EXPOSURE / exposure(solved)[:, None] / constant)
    shade = torch.einsum("nvi,ni->nv", basis, mono).clamp_min(0.05)
    w = (weight * trust)[..., None]
    ratio = ((colour / albedo / shade[..., None]).clamp_min(0.02).log() * w).sum(1) / w.sum(1).clamp_min(1e-6)
    return mono, ratio.exp(), trust


def _tint(ratio: Tensor) -> Tensor:
    """White balance (N, 3) from each photo's ratio (N, 3) to the mean albedo.

    Skin differs mostly along one line in log RGB, from dark to light; what a photo has across that line is split between its
    light and its skin.
    """
    logs = ratio.log()
    centred = logs - logs.median(dim=0).values
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    across = centred - (centred @ axes[0])[:, None] * axes[0]
    tint = (_TINT_SHARE * across).exp()
    return tint / (tint @ LUMINANCE)[:, None]
