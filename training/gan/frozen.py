"""The frozen networks that the losses look through, as interfaces; whatever satisfies them plugs in by import path.

A recipe names them as `module:callable`; the callable takes the data folder and the recipe's further options, and
returns the network. They are put in eval mode and their parameters take no gradient, but gradients pass through them
to G's picture.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from synthface.errors import SynthfaceError


class Recogniser(Protocol):
    """f_id: who is it?

    `mean` (D,) is the mean descriptor over many people; similarities are of descriptors with it subtracted.
    """

    mean: Tensor

    def __call__(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Raw descriptors (N, D) of pictures (N, 3, H, W) in [−1, 1].

        Args:
            images: the pictures.
            landmarks: (N, 68, 2) where the face is, as fractions of the picture's size. The network crops by them and
                passes no gradient to them, so G cannot please it by moving the crop.
        """


class Reconstructed(NamedTuple):
    """What the reconstruction network reads off pictures.

    Args:
        vector: (N, total) λ, packed as `LambdaSizes` says.
        landmarks: (N, 68, 2) fractions of the picture's size, origin at the top-left corner, y down.
    """

    vector: Tensor
    landmarks: Tensor


class Reconstructor(Protocol):
    """p(·) and γ(·): pictures (N, 3, H, W) in [−1, 1], of any size, to λ and landmarks."""

    def __call__(self, images: Tensor) -> Reconstructed:
        """Read pictures."""


class Parser(Protocol):
    """m(·): pictures (N, 3, H, W) in [−1, 1] to the probability of hair (N, 1, h, w) at each pixel."""

    def __call__(self, images: Tensor) -> Tensor:
        """Read pictures."""


class Features(Protocol):
    """Feature maps of pictures (N, 3, H, W) in [−1, 1], for perceptual distances, Fréchet distances."""

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        """Maps (N, C, h, w), coarse ones last."""


@dataclass(frozen=True)
class Frozen:
    """The frozen networks of a run; None where the recipe names none, and its losses must then have no weight.

    `judge` is a second reconstruction network that no loss ever sees; control errors are measured with it.
    """

    recognition: Recogniser | None = None
    reconstruction: Reconstructor | None = None
    parser: Parser | None = None
    features: Features | None = None
    judge: Reconstructor | None = None


def load_frozen(entries: Mapping[str, Mapping[str, Any]], data: Path, device: torch.device) -> Frozen:
    """The networks that a recipe's `frozen` section names: role to `{factory: "module:callable", **options}`.

    Raises:
        SynthfaceError: a factory can't be imported.
    """
    return Frozen(**{role: _load(role, dict(entry), data, device) for role, entry in entries.items()})


def _load(role: str, entry: dict[str, Any], data: Path, device: torch.device) -> Any:
    path = cast(str, entry.pop("factory"))
    module_name, _, name = path.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise SynthfaceError(
            f"recipe: frozen.{role}.factory: {path!r} can't be imported ({error}); give module:callable"
        ) from error
    network = factory(data, **entry)
    return freeze(network).to(device) if isinstance(network, nn.Module) else network


def freeze(network: nn.Module) -> nn.Module:
    """The network in eval mode, its parameters without gradient."""
    return network.eval().requires_grad_(False)
