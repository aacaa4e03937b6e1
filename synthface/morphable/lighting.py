"""Spherical-harmonic shading in torch, and the step between linear light and sRGB. Conventions: `factors.lighting`."""

from __future__ import annotations

import torch
from torch import Tensor

from synthface.factors.lighting import CONSTANTS, LAMBERT


def sh_basis(normals: Tensor) -> Tensor:
    """Y_k(n) (…, 9) of unit vectors (…, 3); the torch twin of `factors.lighting.sh_basis`."""
    x, y, z = normals.unbind(dim=-1)
    terms = [torch.ones_like(x), -y, z, -x, x * y, -y * z, 3 * z * z - 1, -x * z, x * x - y * y]
    return torch.stack(terms, dim=-1) * torch.as_tensor(CONSTANTS, dtype=normals.dtype, device=normals.device)


def shading(normals: Tensor, sh: Tensor) -> Tensor:
    """Irradiance over π at unit normals (N, …, 3) under sh (N, 3, 9), linear RGB (N, …, 3); a white surface shows it.

    Source: Ramamoorthi and Hanrahan 2001, Eq. 10.
    """
    weighted = sh * torch.as_tensor(LAMBERT, dtype=sh.dtype, device=sh.device)
    basis = sh_basis(normals)
    flat = basis.reshape(len(basis), -1, basis.shape[-1])
    return torch.bmm(flat, weighted.transpose(1, 2)).reshape(*basis.shape[:-1], 3)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Linear light, clamped to [0, 1] → sRGB in [0, 1] (IEC 61966-2-1)."""
    linear = linear.clamp(0.0, 1.0)
    # The power's gradient is infinite at 0, where the other branch applies: keep it away from there.
    curve = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curve)


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """SRGB in [0, 1] → linear light (IEC 61966-2-1)."""
    curve = ((srgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb <= 0.04045, srgb / 12.92, curve)
