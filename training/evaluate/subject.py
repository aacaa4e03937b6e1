"""What is measured: a generator as λ and ε in, pictures out; and, where it has them, styles in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from synthface.factors.types import FactorBatch, FactorLayout
from synthface.generators import is_bundle, load_generator
from synthface.generators.base import Generator
from synthface.morphable.basis import MorphableBasis
from synthface.networks.mapping import LambdaSizes, broadcast
from synthface.networks.noise import noise_maps
from synthface.networks.points import Points
from synthface.networks.truncation import Kind, Truncation


class Pictures(NamedTuple):
    """Pictures (N, 3, H, W) in [−1, 1], and where their landmarks (N, 68, 2) were asked to be, fractions of the size."""

    images: Tensor
    landmarks: Tensor


class Subject(Protocol):
    """Any generator, for measuring. `basis` is its morphable model; λ is packed as `sizes` says."""

    name: str
    layout: FactorLayout
    basis: MorphableBasis
    size_px: int

    def describe(self) -> dict[str, Any]:
        """What the pictures depend on beside λ and ε; plain data."""

    def pictures(self, vector: Tensor, noise: Tensor) -> Pictures:
        """Pictures of λ (N, total) and ε (N, E)."""

    def landmarks(self, vector: Tensor) -> Tensor:
        """Where λ (N, total) puts the 68 landmarks (N, 68, 2), fractions of the size."""


@runtime_checkable
class Styled(Protocol):
    """A generator with style codes."""

    def styles(self, vector: Tensor, noise: Tensor) -> Tensor:
        """W (N, w_dim) of λ and ε."""

    def from_styles(self, w: Tensor, noise: Tensor) -> Tensor:
        """Pictures (N, 3, H, W), unrounded, of W (N, w_dim); the noise maps are those that belong to ε (N, E)."""

    def truncated(self, psi: float, kind: Kind) -> Subject:
        """The same generator, truncated."""


class GeneratorSubject:
    """A generator of `synthface.generators`, seen through its 8-bit pictures, as datasets hold them.

    Args:
        generator: what draws.
        basis: its morphable model.
        size_px: of the pictures; None is the generator's own.
    """

    def __init__(self, generator: Generator, basis: MorphableBasis, size_px: int | None = None) -> None:
        self.generator, self.basis = generator, basis
        self.name, self.layout = generator.name, generator.layout
        self.size_px = size_px or generator.native_size_px
        self.sizes = LambdaSizes.of(self.layout)
        self._points = Points.of(basis, basis.landmarks68)

    def describe(self) -> dict[str, Any]:
        """What the generator says, and the size."""
        return {**self.generator.describe(), "size_px": self.size_px}

    @torch.no_grad()
    def pictures(self, vector: Tensor, noise: Tensor) -> Pictures:
        """Drawn in the generator's tiles; the last one is filled up with its last row."""
        tile, images = self.generator.tile_size, []
        for start in range(0, len(vector), tile):
            rows = torch.arange(start, start + tile).clamp_max(len(vector) - 1)
            made = self.generator.generate(self.batch(vector[rows], noise[rows]), size_px=self.size_px)
            num = min(tile, len(vector) - start)
            images.append(torch.from_numpy(made.images[:num].copy()))
        pixels = torch.cat(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return Pictures(pixels, self.landmarks(vector))

    def landmarks(self, vector: Tensor) -> Tensor:
        """The scene's landmarks, without its whole mesh."""
        factors = self.sizes.unpack(vector.float())
        view = torch.zeros(len(vector), 3)
        points: Tensor = self._points(factors.shape, factors.expression, factors.pose_rad, view)
        return points

    def batch(self, vector: Tensor, noise: Tensor) -> FactorBatch:
        """λ (N, total) and ε (N, E) as the generator takes them."""
        parts = {name: part.float().numpy() for name, part in self.sizes.unpack(vector)._asdict().items()}
        return FactorBatch(noise=noise.float().numpy(), **parts)


class BundleSubject(GeneratorSubject):
    """A trained bundle: with styles, and with truncation."""

    def __init__(self, generator: Any, bundle: Any, basis: MorphableBasis, size_px: int | None, device: str) -> None:
        super().__init__(generator, basis, size_px)
        self.bundle, self.device = bundle, device

    @torch.no_grad()
    def styles(self, vector: Tensor, noise: Tensor) -> Tensor:
        """W, before truncation."""
        w: Tensor = self.bundle.network.w(vector.to(self.device), noise.to(self.device))
        return w.cpu()

    @torch.no_grad()
    def from_styles(self, w: Tensor, noise: Tensor) -> Tensor:
        """Pictures at the network's own size."""
        network = self.bundle.network
        resolutions = network.config.synthesis.noise_resolutions
        maps = [m.to(self.device) for m in noise_maps(noise.float().numpy(), resolutions)]
        pictures: Tensor = network.synthesis(broadcast(w.to(self.device), network.num_ws), maps)
        return pictures.clamp(-1.0, 1.0).cpu()

    def truncated(self, psi: float, kind: Kind) -> BundleSubject:
        """All layers of W+ that `Truncation` moves by default."""
        from synthface.generators.gan import GanGenerator

        truncation = replace(Truncation(), psi=psi, kind=kind)
        generator = GanGenerator(self.bundle, self.basis, truncation=truncation, device=self.device)
        return BundleSubject(generator, self.bundle, self.basis, self.size_px, self.device)


def open_subject(name: str, *, size_px: int | None = None, device: str = "cpu") -> GeneratorSubject:
    """A generator by the name a spec would give it: `3dmm`, the folder of a bundle or of a morphable model.

    Raises:
        GeneratorError: there is no such generator, or its files are damaged.
    """
    from synthface.generators.gan import GanGenerator
    from synthface.networks.bundle import load_bundle

    if is_bundle(name):
        bundle, basis = load_bundle(name, device=device), MorphableBasis.load()
        return BundleSubject(GanGenerator(bundle, basis, device=device), bundle, basis, size_px, device)
    generator = load_generator(name, device=device)
    basis = generator.model.basis  # type: ignore[attr-defined]
    return GeneratorSubject(generator, basis, size_px)
