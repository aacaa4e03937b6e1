"""Learned distributions of whole factors: z ~ N(0, I) through a λ-VAE's decoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from synthface.seeding import normals

F64 = npt.NDArray[np.float64]


class Prior(Protocol):
    """A decoder, as `networks.decoders.Decoder`."""

    @property
    def z_size(self) -> int:
        """Length of z."""

    @property
    def size(self) -> int:
        """Length of what is decoded."""

    def decode(self, z: F64, *, residual: F64 | None = None) -> npt.NDArray[np.float32]:
        """λ (N, size) of z (N, z_size) and residual (N, size), both standard normal."""


def draw_prior(prior: Prior, seed: int, stream: str, index: npt.NDArray[Any], *, scale: float) -> F64:
    """Values (N, size) of the factor for stream indices (N,).

    Args:
        prior: the factor's.
        seed: the spec's.
        stream: what the numbers are keyed by, `identity` or `default/lighting` say.
        index: sample or identity numbers.
        scale: of z and of what the decoder leaves open: 0 is the most typical value.
    """
    z = scale * normals(seed, f"{stream}.z", index, prior.z_size)
    residual = scale * normals(seed, f"{stream}.residual", index, prior.size)
    return prior.decode(z, residual=residual).astype(np.float64)


@lru_cache(maxsize=1)
def bundled_priors() -> Mapping[str, Prior]:
    """The priors that go with the bundled morphable model; none where they don't ship."""
    from synthface.networks.decoders import CONFIG, load_decoders

    with resources.as_file(resources.files("synthface") / "assets" / "priors") as folder:
        return load_decoders(folder) if (folder / CONFIG).is_file() else {}
