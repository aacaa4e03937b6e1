"""`3dmm`: the analytic renderer as a generator. Plain-looking heads, but every label is exact by construction."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.factors.types import FactorBatch, FactorLayout
from synthface.generators import MORPHABLE_TILE, bundled_layout
from synthface.generators.base import Generated
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import srgb_to_linear
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from synthface.morphable.scene import Scene

#: Samples per pixel and axis.
SUPERSAMPLE = 2
#: Version of the picture: raised when the same factors give other pixels.
LOOK = 1


class MorphableGenerator:
    """The morphable model under its lighting, before a soft two-colour backdrop.

    The backdrop's colours come from the first seven numbers of ε; the rest of ε has no effect here.

    Args:
        basis: the morphable model; None is the bundled one.
        device: where to render.
    """

    name = "3dmm"
    tile_size = MORPHABLE_TILE
    native_size_px = 256

    def __init__(self, basis: MorphableBasis | None = None, *, device: str = "cpu") -> None:
        self._basis = basis or MorphableBasis.load()
        self._is_bundled = basis is None
        self._device = device

    @cached_property
    def layout(self) -> FactorLayout:
        """The morphable model's own sizes and names, and the bundled one's priors."""
        return bundled_layout() if self._is_bundled else self._basis.layout()

    @cached_property
    def model(self) -> MorphableModel:
        """The morphable model on the device."""
        return MorphableModel(self._basis).to(self._device)

    def generate(self, factors: FactorBatch, *, size_px: int) -> Generated:
        """Render `tile_size` samples."""
        with torch.no_grad():
            tensors = Factors.of(factors, device=self._device)
            noise = torch.as_tensor(factors.noise, device=self._device)
            rendered = render(
                self.model, tensors, size_px, supersample=SUPERSAMPLE, background=backdrop(noise, size_px)
            )
        pixels = ((rendered.image + 1.0) * 127.5).round().to(torch.uint8)
        images = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        scene = Scene(self.model, factors, size_px, mesh=rendered.mesh, fine=rendered.fragments, device=self._device)
        return Generated(images, scene)

    def describe(self) -> dict[str, Any]:
        """Name, look, and the model's hash."""
        return {
            "name": self.name,
            "look": LOOK,
            "supersample": SUPERSAMPLE,
            "tile_size": self.tile_size,
            "morphable_model": self._basis.name,
            "morphable_model_sha256": self._basis.digest,
            "device": torch.device(self._device).type,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        }


def backdrop(noise: Tensor, size_px: int) -> Tensor:
    """A soft gradient (N, 3, H, W), linear RGB, from ε (N, ≥ 7): two muted colours and a direction."""
    level = torch.sigmoid(noise[:, 0:1]) * 0.55 + 0.25
    first = srgb_to_linear((level + 0.06 * torch.tanh(noise[:, 1:4])).clamp(0.0, 1.0))
    second = srgb_to_linear((level * 0.75 + 0.06 * torch.tanh(noise[:, 3:6])).clamp(0.0, 1.0))
    axis = (torch.arange(size_px, device=noise.device, dtype=noise.dtype) + 0.5) / size_px - 0.5
    angle = noise[:, 6] * 1.5
    ramp = torch.cos(angle)[:, None, None] * axis[:, None] + torch.sin(angle)[:, None, None] * axis[None, :]
    share = (ramp + 0.5).clamp(0.0, 1.0)[:, None]
    return first[:, :, None, None] * (1 - share) + second[:, :, None, None] * share
