"""The frozen networks that the losses look through, as interfaces; whatever satisfies them plugs in.

A data folder says which they are: `networks/<role>.json` holds `{"factory": "module:callable", …}`, and the callable is
called with the data folder and the further entries as keywords, and returns the network. Roles are `recognition`,
`reconstruction`, `parser`, `features` and `judge`. They are put in eval mode and their parameters take no gradient, but
gradients pass through them to G's picture.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from synthface.errors import DatasetError
from synthface.networks.reconstruction import Reconstructed


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


def load_frozen(roles: Iterable[str], data: Path, device: torch.device) -> Frozen:
    """The networks of a data folder that play these roles.

    Raises:
        DatasetError: the folder has none for a role, or it can't be imported.
    """
    return Frozen(**{role: _load(role, data, device) for role in roles})


def name_frozen(data: Path, role: str, factory: str, **options: Any) -> None:
    """Say in a data folder which network plays a role."""
    folder = data / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{role}.json").write_text(json.dumps({"factory": factory, **options}) + "\n", encoding="utf-8")


def _load(role: str, data: Path, device: torch.device) -> Any:
    path = data / "networks" / f"{role}.json"
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        module_name, _, name = entry.pop("factory").partition(":")
        factory = getattr(importlib.import_module(module_name), name)
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f'{path}: names no network for the role {role!r} ({error}); write {{"factory": "module:callable"}} there'
        ) from error
    except (ImportError, AttributeError) as error:
        raise DatasetError(f"{path}: its factory can't be imported ({error}); give module:callable") from error
    network = factory(data, **entry)
    return freeze(network).to(device) if isinstance(network, nn.Module) else network


def freeze(network: nn.Module) -> nn.Module:
    """The network in eval mode, its parameters without gradient."""
    return network.eval().requires_grad_(False)
