"""What tells materials apart: colours as mixtures of Gaussians, and labels that keep to a picture's edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])
#: Least variance of a component in each direction: noise, and differences that don't matter.
_FLOOR = 4.0
_MAX_SAMPLES = 1000


def features(pixels: U8) -> F64:
    """(H, W, 4) of a picture (H, W, 3): CIE L*, a*, b*, and how much L* varies within a few pixels."""
    lab = lab_of(pixels)
    lightness = lab[..., 0]
    mean, square = (ndimage.gaussian_filter(x, 1.5) for x in (lightness, lightness**2))
    texture = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.concatenate([ndimage.gaussian_filter(lab, (0.6, 0.6, 0)), texture[..., None]], axis=-1)


def lab_of(pixels: U8) -> F64:
    """CIE L*a*b* (…, 3), D65, of sRGB (…, 3)."""
    table = np.arange(256) / 255
    linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)[pixels]
    xyz = linear @ _XYZ.T / _WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


class Mixture:
    """A mixture of Gaussians fitted to samples (M, D) by expectation and maximisation.

    Args:
        samples: what to fit.
        num_components: at most; fewer where samples are few.
        steps: of the fit.
    """

    def __init__(self, samples: F64, *, num_components: int = 4, steps: int = 8) -> None:
        # Every so many of them: seeds lie in rows, and every row should count.
        samples = samples[:: max(1, len(samples) // _MAX_SAMPLES)]
        num = max(1, min(num_components, len(samples) // 30))
        floor = _FLOOR * np.eye(samples.shape[1])
        slices = np.array_split(samples[samples[:, 0].argsort()], num)
        self._means = np.stack([part.mean(axis=0) for part in slices])
        self._covariances = np.stack([np.cov(samples.T) + floor] * num)
        self._weights = np.full(num, 1 / num)
        for _ in range(steps if num > 1 else 1):
            joint = self._joint(samples)
            share = np.exp(joint - joint.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            count = share.sum(axis=0) + 1e-6
            self._weights = count / count.sum()
            self._means = share.T @ samples / count[:, None]
            offsets = samples - self._means[:, None]  # (K, M, D)
            weighted = offsets * share.T[..., None]
            self._covariances = np.swapaxes(weighted, 1, 2) @ offsets / count[:, None, None] + floor

    def log_density(self, samples: F64) -> F64:
        """(…,) of samples (…, D)."""
        joint = self._joint(samples.reshape(-1, samples.shape[-1]))
        top = joint.max(axis=1)
        return (top + np.log(np.exp(joint - top[:, None]).sum(axis=1))).reshape(samples.shape[:-1])

    def _joint(self, samples: F64) -> F64:
        """log (weight · density) (M, K)."""
        num, size = self._means.shape
        values, vectors = np.linalg.eigh(self._covariances)
        whitening = vectors / np.sqrt(values)[:, None]  # (K, D, D)
        flat = samples @ np.moveaxis(whitening, 0, 1).reshape(size, -1) - np.einsum(
            "kd,kde->ke", self._means, whitening
        ).reshape(-1)
        distance = (flat**2).reshape(-1, num, size).sum(axis=2)
        constant = np.log(self._weights + 1e-12) - 0.5 * (np.log(values).sum(axis=1) + size * np.log(2 * np.pi))
        return constant - 0.5 * distance


def guided_filter(values: F64, guide: U8, *, radius: int = 3, epsilon: float = 2e-4) -> F64:
    """Smooth a map (H, W) without smoothing it across the edges of a picture (H, W, 3).

    Source: He, Sun and Tang 2013, Guided Image Filtering, Eqs. 14–15 (a guide with three channels).
    """

    def mean(x: F64) -> F64:
        return ndimage.uniform_filter(x, (2 * radius + 1,) * 2 + (1,) * (x.ndim - 2), mode="nearest")

    colours = guide.astype(np.float64) / 255
    mean_colour, mean_value = mean(colours), mean(values)
    together = mean(colours * values[..., None]) - mean_colour * mean_value[..., None]
    rows, columns = np.triu_indices(3)
    products = mean(colours[..., rows] * colours[..., columns]) - mean_colour[..., rows] * mean_colour[..., columns]
    slope = _solved(products + epsilon * (rows == columns), together)
    offset = mean_value - (slope * mean_colour).sum(axis=-1)
    return (mean(slope) * colours).sum(axis=-1) + mean(offset)


def _solved(matrix: F64, right: F64) -> F64:
    """x (…, 3) of A x = b for symmetric A given as its upper triangle (…, 6), by Cramer's rule."""
    a, b, c, d, e, f = np.moveaxis(matrix, -1, 0)
    cofactors = (d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b)
    p, q, r, s, t, u = cofactors
    x, y, z = np.moveaxis(right, -1, 0)
    determinant = a * p + b * q + c * r
    return np.stack([p * x + q * y + r * z, q * x + s * y + t * z, r * x + t * y + u * z], -1) / determinant[..., None]
