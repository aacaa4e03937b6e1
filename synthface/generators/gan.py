"""A trained bundle as a generator: photo-like faces that do what λ asks, with the morphable model's labels beside them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.errors import GeneratorError
from synthface.factors.types import FactorBatch, FactorLayout
from synthface.generators.base import Generated
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.scene import Scene
from synthface.networks.bundle import Bundle
from synthface.networks.truncation import Truncation


class GanGenerator:
    """G(λ, ε) of a bundle.

    The scene is the morphable model under the same λ and camera: what the picture was trained to imitate. ε decides all
    else, and, through its bytes, the noise maps: two images with the same ε share hair, background and grain.

    Args:
        bundle: the trained generator.
        basis: the morphable model it was trained with; None is the bundled one.
        truncation: how far styles are pulled towards their mean; None is not at all.
        device: where to compute.

    Raises:
        GeneratorError: the morphable model or the camera isn't the one that the bundle was trained with.
    """

    def __init__(
        self,
        bundle: Bundle,
        basis: MorphableBasis | None = None,
        *,
        truncation: Truncation | None = None,
        device: str = "cpu",
    ) -> None:
        self._bundle, self._device, self._truncation = bundle, device, truncation
        self._basis = basis or MorphableBasis.load()
        self.layout: FactorLayout = bundle.config.layout(self._basis, bundle.priors())
        found = {"focal_per_pixel": camera.FOCAL_PER_PIXEL, "distance_dm": camera.DISTANCE_DM}
        if any(abs(found[name] - value) > 1e-6 for name, value in bundle.config.camera.items()):
            raise GeneratorError(
                f"{bundle.folder}: trained for camera {dict(bundle.config.camera)}, this version has {found}; "
                "labels would be off: train anew or use the version it was made with"
            )

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._bundle.config.name

    @property
    def tile_size(self) -> int:
        """K, fixed by the bundle: another would change the last bit of pictures."""
        return self._bundle.config.tile_size

    @property
    def native_size_px(self) -> int:
        """The size that the network draws at."""
        return self._bundle.config.size_px

    @cached_property
    def model(self) -> MorphableModel:
        """The morphable model on the device."""
        return MorphableModel(self._basis).to(self._device)

    @torch.no_grad()
    def generate(self, factors: FactorBatch, *, size_px: int) -> Generated:
        """Draw `tile_size` samples; other sizes than the native one are resampled from it."""
        vector = self._bundle.network.sizes.pack(Factors.of(factors, device=self._device))
        pictures = self._bundle.network.pictures(vector, factors.noise, truncation=self._truncation)
        pixels = ((resized(pictures, size_px) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        images = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return Generated(images, Scene(self.model, factors, size_px, device=self._device))

    def describe(self) -> dict[str, Any]:
        """Name, hashes of weights and morphable model, truncation, and what computed."""
        config, truncation = self._bundle.config, self._truncation
        return {
            "name": self.name,
            "weights_sha256": {name: sha for name, sha in config.files.items() if name.startswith("generator-")},
            "tile_size": self.tile_size,
            "native_size_px": self.native_size_px,
            "truncation": None if truncation is None else vars(truncation),
            "morphable_model": self._basis.name,
            "morphable_model_sha256": self._basis.digest,
            "device": torch.device(self._device).type,
            "torch": str(torch.__version__),
        }


def resized(pictures: Tensor, size_px: int) -> Tensor:
    """Pictures (N, 3, H, W) at another size, bicubic and, when smaller, filtered against aliasing."""
    if pictures.shape[-1] == size_px:
        return pictures
    size = (size_px, size_px)
    return F.interpolate(pictures, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(-1.0, 1.0)
