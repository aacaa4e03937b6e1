"""The losses of the paper, one function each, and nothing else: no network is called here.

Notation: x = G(λ, ε), x̂ its rendering, both in [−1, 1]; a prime marks the second picture of a pair that differs in one
factor. All are means over the batch: the paper's weights belong to means (with sums, its 500 would mean 68 000).

Source: Deng et al. 2020, Eqs. 2–8 and supplement I.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Blur of both pictures in Eq. 6.
BLUR_TAPS, BLUR_SIGMA_PX = 5, 2.0
MARGIN = 0.3
OMEGA = 1000.0


def identity_loss(cosine: Tensor, *, margin: float = MARGIN) -> Tensor:
    """Eq. 2: l_I^id = mean max(1 − ⟨f_id(x·mask), f_id(x̂)⟩ − τ, 0), from cosines (N,) of centred descriptors.

    Raw descriptors of some networks are all alike: strangers' cosine is then above 1 − τ and the loss always 0. See
    `centred_cosine`.
    """
    return (1.0 - cosine - margin).clamp_min(0.0).mean()


def landmark_loss(landmarks: Tensor, landmarks_hat: Tensor) -> Tensor:
    """Eq. 3: l_I^lm = mean over 68 points and 2 coordinates of ‖p(x) − p̂‖² / size²; points (N, 68, 2) / size."""
    return (landmarks - landmarks_hat).square().mean()


def lighting_loss(sh: Tensor, sh_hat: Tensor) -> Tensor:
    """Eq. 4: l_I^sh = mean |γ(x) − γ̂| over the 27 coefficients; (N, 27) or (N, 3, 9)."""
    return (sh - sh_hat).abs().mean()


def colour_loss(colour: Tensor, colour_hat: Tensor) -> Tensor:
    """Eq. 5: l_I^cl = mean ‖c(x) − c(x̂)‖ with c the mean colour inside the mask, (N, 3); see `mean_colour`.

    Eq. 5 writes an L1 norm; the authors' released code takes the L2 norm over RGB, and the weights belong to that.
    """
    return torch.linalg.vector_norm(colour - colour_hat, dim=1).mean()


def pixel_loss(x: Tensor, x_hat: Tensor, mask: Tensor) -> Tensor:
    """Supplement I, at ≤ 32²: mean inside the mask of the L2 norm over RGB of x − x̂; mask (N, 1, H, W) in [0, 1]."""
    return _masked_mean(_norm_rgb(x - x_hat), mask)


def expression_loss(x: Tensor, x_other: Tensor, flow: Tensor, valid: Tensor) -> Tensor:
    """Eq. 6: l_C^ex = mean |x(v) − x'|, both blurred, L2 norm over RGB, over the valid pixels.

    Args:
        x, x_other: (N, 3, H, W) the pair; only expression differs.
        flow: (N, H, W, 2) v, fractions of the size; see `flow.flow_from_vertices`.
        valid: (N, 1, H, W) 0 where the first face was and the second isn't.
    """
    return _masked_mean(_norm_rgb(blur(warp(x, flow)) - blur(x_other)), valid)


def structure_loss(
    hair: Tensor, hair_other: Tensor, landmarks: Tensor, landmarks_other: Tensor, *, omega: float = OMEGA
) -> Tensor:
    """Eq. 7: l_C^il1 = mean (m(x) − m(x'))² + ω · mean ‖p(x) − p(x')‖² / size²; only lighting differs.

    Args:
        hair, hair_other: (N, 1, h, w) probability of hair.
        landmarks, landmarks_other: (N, 68, 2) fractions of the size.
        omega: ω.
    """
    return (hair - hair_other).square().mean() + omega * landmark_loss(landmarks, landmarks_other)


def same_identity_loss(cosine: Tensor) -> Tensor:
    """Eq. 8: l_C^il2 = mean 1 − ⟨f_id(x), f_id(x')⟩, from cosines (N,) of centred descriptors; only lighting differs."""
    return (1.0 - cosine).mean()


def centred_cosine(first: Tensor, second: Tensor, mean: Tensor) -> Tensor:
    """⟨·, ·⟩ (N,) of descriptors (N, D) once the mean descriptor (D,) of many people is subtracted."""
    return F.cosine_similarity(first - mean, second - mean, dim=1)


def mean_colour(x: Tensor, mask: Tensor) -> Tensor:
    """c(x) (N, 3): mean colour of (N, 3, H, W) inside the mask (N, 1, H, W); 0 where the mask is empty."""
    return (x * mask).sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp_min(1e-6)


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """x(v): the picture (N, C, H, W) read at p + v(p) for each pixel p, bilinear; flow (N, H, W, 2) in sizes, y down."""
    num, _, height, width = x.shape
    ys = (torch.arange(height, device=x.device, dtype=x.dtype) + 0.5) * (2.0 / height) - 1.0
    xs = (torch.arange(width, device=x.device, dtype=x.dtype) + 0.5) * (2.0 / width) - 1.0
    here = torch.stack([xs.expand(height, width), ys[:, None].expand(height, width)], dim=-1)
    return F.grid_sample(x, here.expand(num, -1, -1, -1) + 2.0 * flow, padding_mode="border", align_corners=False)


def blur(x: Tensor, *, taps: int = BLUR_TAPS, sigma_px: float = BLUR_SIGMA_PX) -> Tensor:
    """Gaussian blur of (N, C, H, W), edges repeated."""
    offsets = torch.arange(taps, device=x.device, dtype=x.dtype) - (taps - 1) / 2
    row = torch.exp(-0.5 * (offsets / sigma_px).square())
    row = (row / row.sum()).expand(x.shape[1], 1, 1, taps)
    padded = F.pad(x, [taps // 2] * 4, mode="replicate")
    across = F.conv2d(padded, row, groups=x.shape[1])
    return F.conv2d(across, row.transpose(2, 3), groups=x.shape[1])


def _norm_rgb(difference: Tensor) -> Tensor:
    """L2 norm over channels, (N, 1, H, W)."""
    return torch.linalg.vector_norm(difference, dim=1, keepdim=True)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1e-6)
