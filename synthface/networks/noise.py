"""The synthesis network's noise maps, as a function of the sample's own ε and of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.seeding import bits

_STREAM = "noise_maps"


def noise_maps(noise: npt.NDArray[np.float32], resolutions: Sequence[int]) -> list[Tensor]:
    """Standard normal maps (N, 1, r, r) for each r of `resolutions`, keyed by the bytes of each sample's ε.

    The same ε always gets the same maps, whatever batch it is in; adding resolutions at the end leaves the first maps as
    they were. Each 64-bit word gives four values, each one of 65 536 quantiles of the normal distribution: ample for
    noise, and four times faster than full precision.

    Args:
        noise: (N, E) ε.
        resolutions: sizes in pixels.
    """
    rows = np.ascontiguousarray(noise, "<f4")
    keys = [int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:8], "little") for row in rows]
    total = sum(r * r for r in resolutions)
    words = bits(0, _STREAM, np.array(keys, np.uint64), -(-total // 4))
    ranks = words.astype("<u8").view("<u2")[:, :total]
    values = torch.from_numpy(_quantiles()[ranks])
    return [
        part.reshape(len(rows), 1, r, r)
        for part, r in zip(torch.split(values, [r * r for r in resolutions], dim=1), resolutions, strict=True)
    ]


def random_noise_maps(
    num_samples: int, resolutions: Sequence[int], *, generator: torch.Generator, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """Standard normal maps (N, 1, r, r) for training, drawn on the generator's device."""
    return [
        torch.randn(num_samples, 1, r, r, generator=generator, device=generator.device).to(device) for r in resolutions
    ]


@lru_cache(maxsize=1)
def _quantiles() -> npt.NDArray[np.float32]:
    ranks = (torch.arange(65536, dtype=torch.float64) + 0.5) / 65536
    quantiles: npt.NDArray[np.float32] = torch.special.ndtri(ranks).float().numpy()
    return quantiles
