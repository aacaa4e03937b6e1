"""A generator whose figures are known in closed form: its pictures' pixels are linear functions of λ.

Every factor has one sign s_i = ±1, standing for s_i · v_i in λ. A picture's pixels are the λ that shows: factor j shows
Σ_i C[j, i] s_i v_j, so C's off-diagonal is cross-talk. The judge reads pixels as they are; the recogniser reads the angle
Σ_i C[identity, i] s_i and gives (cos, sin) of it.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from synthface.factors.types import FactorLayout
from synthface.morphable.basis import MorphableBasis
from synthface.networks.mapping import GROUPS, LambdaSizes
from training.evaluate.bench import Bench
from training.evaluate.networks import Named, Networks
from training.evaluate.recipe import EvaluateRecipe
from training.evaluate.source import FactorSource
from training.evaluate.store import Store
from training.evaluate.subject import Pictures

BASIS = MorphableBasis.load()
LAYOUT = BASIS.layout()
SIZES = LambdaSizes.of(LAYOUT)
SIDE = int(np.ceil((SIZES.total / 3) ** 0.5))
LANDMARKS = torch.rand(68, 2, generator=torch.Generator().manual_seed(5))
NAMES = tuple(GROUPS)


def directions() -> dict[str, Tensor]:
    """v_i (size of factor i,) of each factor, float64."""
    rng = torch.Generator().manual_seed(1)
    return {name: torch.randn(len(SIZES.columns(name)), generator=rng, dtype=torch.float64) for name in NAMES}


V = directions()


def all_signs() -> Tensor:
    """(16, 4) every choice of signs."""
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=torch.float64)


def vectors_of(signs: Tensor) -> Tensor:
    """λ (N, total) of signs (N, 4), or of any numbers in their place."""
    vector = torch.zeros(len(signs), SIZES.total, dtype=torch.float64)
    for k, name in enumerate(NAMES):
        vector[:, SIZES.columns(name)] = signs[:, k : k + 1] * V[name]
    return vector


def signs_of(vector: Tensor) -> Tensor:
    """(N, 4): the inverse of `vectors_of`."""
    return torch.stack([vector[:, SIZES.columns(n)] @ V[n] / V[n].square().sum() for n in NAMES], dim=1)


class Analytic:
    """The generator.

    Args:
        crosstalk: C (4, 4); None: pixels are λ itself, whatever it is.
    """

    name = "analytic"
    layout: FactorLayout = LAYOUT
    basis = BASIS
    size_px = SIDE

    def __init__(self, crosstalk: Tensor | None = None) -> None:
        self.crosstalk, self.num_drawn = crosstalk, 0

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "crosstalk": None if self.crosstalk is None else self.crosstalk.tolist()}

    def shown(self, vector: Tensor) -> Tensor:
        """The λ (N, total) that the pictures show."""
        return vector if self.crosstalk is None else vectors_of(signs_of(vector) @ self.crosstalk.T)

    def pictures(self, vector: Tensor, noise: Tensor) -> Pictures:
        self.num_drawn += len(vector)
        return Pictures(to_pixels(self.shown(vector)), self.landmarks(vector))

    def landmarks(self, vector: Tensor) -> Tensor:
        return LANDMARKS.expand(len(vector), -1, -1)


def to_pixels(vector: Tensor) -> Tensor:
    pixels = torch.zeros(len(vector), 3 * SIDE * SIDE, dtype=vector.dtype)
    pixels[:, : SIZES.total] = vector
    return pixels.reshape(-1, 3, SIDE, SIDE)


def to_vector(images: Tensor) -> Tensor:
    return images.flatten(1)[:, : SIZES.total]


class Read(NamedTuple):
    vector: Tensor
    landmarks: Tensor


class Judge:
    """Reads λ off the pixels: gain · λ + offset; its landmarks are all off by (0.03, 0.04)."""

    def __init__(self, gain: float = 1.0, offset: float = 0.0) -> None:
        self.gain, self.offset = gain, offset

    def __call__(self, images: Tensor) -> Read:
        off = LANDMARKS + torch.tensor([0.03, 0.04])
        return Read(self.gain * to_vector(images) + self.offset, off.expand(len(images), -1, -1))


def narrow_judge(data: Path) -> Any:
    """A judge of another morphable model's λ."""
    return lambda images: Read(torch.zeros(len(images), 5), LANDMARKS.expand(len(images), -1, -1))


class AngleRecogniser:
    """(cos, sin) of what identity shows."""

    mean = torch.zeros(2)

    def __call__(self, images: Tensor, landmarks: Tensor) -> Tensor:
        angle = signs_of(to_vector(images))[:, 0]
        return torch.stack([angle.cos(), angle.sin()], dim=1)


class Photos:
    """Photos: every choice of signs once, shown as the generator shows them."""

    digest = "all signs"
    has_fitted_crops = False

    def __init__(self, subject: Analytic) -> None:
        self.subject = subject

    def __len__(self) -> int:
        return 16

    def pictures(self, which: np.ndarray, size_px: int) -> Pictures:
        assert size_px == SIDE
        return self.subject.pictures(vectors_of(all_signs()[torch.from_numpy(which)]), torch.zeros(len(which), 1))


def bench(
    subject: Any, cache: Path, recipe: EvaluateRecipe, *, table: Tensor | None = None, judge: Judge | None = None
) -> Bench:
    """A bench around the generator; factors from `table`, all signs by default."""
    source = FactorSource(vectors_of(all_signs()) if table is None else table, SIZES, 4, "analytic")
    networks = Networks(
        Named("exact", "judge", judge or Judge(), digest=repr(vars(judge or Judge()))),
        (Named("angle", "second recognition", AngleRecogniser()),),
    )
    return Bench(subject, source, networks, recipe, Store(cache, recipe.chunk), Photos(subject))
