"""A backbone of the recognition recipe with a dense layer to points and angles."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipes.landmarks.targets import NUM_POINTS
from recipes.recognition.networks import ARCHITECTURES, NetworkSettings, make_network
from synthface.networks.folders import NetworkKind

_KIND = NetworkKind("landmarks", "synthface-recipe-landmarks-1", "python -m recipes.landmarks train")


class LandmarkNetwork(nn.Module):
    """Pictures (N, 3, size, size) in [−1, 1] to points (N, 68, 2) in fractions and (pitch, yaw, roll) (N, 3) in radians."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = make_network(settings)
        self.last = nn.Linear(settings.descriptor_size, 2 * NUM_POINTS + 3)
        nn.init.normal_(self.last.weight, std=1e-3)
        with torch.no_grad():
            self.last.bias.zero_()
            self.last.bias[: 2 * NUM_POINTS] = 0.5  # all points in the middle

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Points and angles."""
        values = self.last(self.backbone(pictures))
        return values[:, : 2 * NUM_POINTS].reshape(-1, NUM_POINTS, 2), values[:, 2 * NUM_POINTS :]


def save_network(folder: Path, network: LandmarkNetwork, **about: Any) -> None:
    """Write weights and `config.json`."""
    config = {"architecture": network.settings.architecture, "settings": asdict(network.settings), **about}
    _KIND.write(folder, config, {name: value.detach().cpu() for name, value in network.state_dict().items()})


def load_network(folder: Path) -> LandmarkNetwork:
    """A network in eval mode.

    Raises:
        GeneratorError: files are missing, damaged, or of another format.
    """
    config, sha256 = _KIND.read_config(folder, ARCHITECTURES)
    try:
        network = LandmarkNetwork(NetworkSettings(**config["settings"]))
        network.load_state_dict(_KIND.read_weights(folder, sha256))
    except (KeyError, TypeError) as error:
        raise _KIND.outdated(folder, error) from error
    except RuntimeError as error:
        raise _KIND.unfit(folder, error) from error
    return network.eval().requires_grad_(False)
