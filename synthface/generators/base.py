"""What a generator is: λ in, pictures and the scene they show out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from synthface.factors.types import FactorBatch, FactorLayout

if TYPE_CHECKING:
    from synthface.morphable.scene import Scene


@dataclass(frozen=True)
class Generated:
    """What a generator made of a tile of N samples.

    Args:
        images: (N, H, W, 3) uint8 RGB, sRGB-encoded, H = W = the size asked for.
        scene: the morphable model's view of the same samples, from which geometric labels are read; it rasterises
            only what is asked of it.
    """

    images: npt.NDArray[np.uint8]
    scene: Scene


@runtime_checkable
class Generator(Protocol):
    """Anything that turns factors into pictures.

    `generate` must depend on nothing but its arguments: the same tile gives the same bytes on the same machine. It is
    always called with exactly `tile_size` samples.
    """

    @property
    def name(self) -> str:
        """Short name, as specs and labels say it: `3dmm`."""

    @property
    def layout(self) -> FactorLayout:
        """The sizes and names of λ and ε."""

    @property
    def tile_size(self) -> int:
        """K: samples are always generated in tiles of this many, aligned to multiples of it."""

    @property
    def native_size_px(self) -> int:
        """The image size it makes when the spec names none."""

    def generate(self, factors: FactorBatch, *, size_px: int) -> Generated:
        """Pictures of `tile_size` samples at `size_px` × `size_px`, showing the whole (uncropped) view."""

    def describe(self) -> dict[str, Any]:
        """Name, version and hashes: what the manifest records and what decides whether two runs may mix."""
