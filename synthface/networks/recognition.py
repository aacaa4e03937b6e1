"""f_id: who is it? Pictures and landmarks to descriptors, by a network that ships or one of your own.

    recognition = load_recognition()                         # (N, 3, H, W) in [−1, 1], (N, 68, 2) fractions of the size
    a, b = recognition(images, landmarks), recognition(others, their_landmarks)
    distance = 1 - centred_similarity(a, b, recognition.mean)

A network is a folder: `config.json` (architecture, crop, card, hash) and `model.safetensors` (weights, float16, and the mean
descriptor). `ARCHITECTURES` names what such a folder may hold. Anything else that satisfies `Recogniser` plugs in by its own
factory: `{"factory": "module:callable"}` in a data folder's `networks/recognition.json`.

Two ship: `dlib-resnet` for the losses, `mobileface` to judge what was trained with the other.

**Distances are of centred descriptors.** Descriptors of one network may all point one way (strangers' raw cosine is 0.9 with
`dlib-resnet`), so the mean over many people is part of the network and comes off first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.networks import chips
from synthface.networks.folders import NetworkKind
from synthface.networks.mobileface import MobileFace, MobileFaceConfig
from synthface.networks.residual import ResidualConfig, ResidualNetwork

KIND = NetworkKind("recognition", "synthface-recognition-1", "python -m training recognition import")
DEFAULT = "dlib-resnet"
#: Architecture by name: its settings, as config.json has them, to a network of crops (N, 3, size, size) in [−1, 1].
ARCHITECTURES: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "dlib-resnet": lambda settings: ResidualNetwork(ResidualConfig.from_dict(settings)),
    "mobileface": lambda settings: MobileFace(MobileFaceConfig.from_dict(settings)),
}


class Recogniser(Protocol):
    """What the losses and measurements ask of a recognition network; `mean` is the mean descriptor (D,) over many people."""

    mean: Tensor

    def __call__(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Raw descriptors (N, D) of pictures (N, 3, H, W) in [−1, 1]; landmarks (N, 68, 2) in fractions, no gradient."""


@dataclass(frozen=True)
class RecognitionConfig:
    """What a network's folder says about it.

    Args:
        name: short name.
        architecture: one of `ARCHITECTURES`.
        settings: of the architecture.
        size_px: H = W of the crops that it looks at.
        target: where the five points of `chips` lie in a crop, fractions of its side.
        card: source, licence, figures.
    """

    name: str
    architecture: str
    settings: Mapping[str, Any]
    size_px: int
    target: tuple[tuple[float, float], ...]
    card: Mapping[str, Any]


class Recognition(nn.Module):
    """A recognition network with the crop that it was trained on and the mean of its descriptors.

    Args:
        config: what it is.
        network: crops (N, 3, size, size) in [−1, 1] to descriptors (N, D).
        mean: (D,) its mean descriptor over many people; zeros until it is measured.
    """

    mean: Tensor
    target: Tensor

    def __init__(self, config: RecognitionConfig, network: nn.Module, mean: Tensor) -> None:
        super().__init__()
        self.config = config
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("target", torch.tensor(config.target), persistent=False)

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """The crops (N, 3, size, size) that the network looks at; see `chips.chips`."""
        return chips.chips(images, landmarks, size_px=self.config.size_px, target=self.target)

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Raw descriptors (N, D).

        Args:
            images: (N, 3, H, W) in [−1, 1].
            landmarks: (N, 468 | 68 | 5, 2) fractions of the picture's size; no gradient passes to them.
        """
        return self.network(self.crop(images, landmarks))


def centred_similarity(first: Tensor, second: Tensor, mean: Tensor) -> Tensor:
    """Cosines (N,) of descriptors (N, D) after subtracting the mean descriptor (D,).

    Source: Deng et al. 2020, the cosine in Eqs. 2 and 8; centring is ours.
    """
    return F.cosine_similarity(first - mean, second - mean, dim=-1)


def load_recognition(source: str | Path = DEFAULT) -> Recognition:
    """A recognition network in eval mode, without gradient to its weights.

    Args:
        source: the name of one that ships, or a folder that `save_recognition` wrote.

    Raises:
        GeneratorError: files are missing, damaged, or of another format or architecture.
    """
    with KIND.folder(source) as folder:
        return _load(folder)


def recognition(data: Path, *, network: str = DEFAULT) -> Recognition:
    """The factory for a data folder's `networks/recognition.json`.

    Args:
        data: the data folder.
        network: the name of a network that ships, or a folder, relative to the data folder.
    """
    inside = data / network
    return load_recognition(inside if inside.is_dir() else network)


def save_recognition(folder: Path, network: Recognition) -> None:
    """Write a network: weights as float16, the mean descriptor as float32, and the config with the hash."""
    tensors = {f"network.{name}": value.half() for name, value in network.network.state_dict().items()}
    KIND.write(folder, vars(network.config), {**tensors, "mean": network.mean.float()})


def _load(folder: Path) -> Recognition:
    data, sha256 = KIND.read_config(folder, ARCHITECTURES)
    try:
        data["target"] = tuple((float(x), float(y)) for x, y in data["target"])
        config = RecognitionConfig(**data)
    except (KeyError, TypeError, ValueError) as error:
        raise KIND.outdated(folder, error) from error
    tensors = KIND.read_weights(folder, sha256)
    try:
        network = ARCHITECTURES[config.architecture](config.settings)
        mean = tensors.pop("mean")
        network.load_state_dict({name.removeprefix("network."): value.float() for name, value in tensors.items()})
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise KIND.unfit(folder, error) from error
    whole = Recognition(config, network, mean.float())
    return whole.eval().requires_grad_(False)
