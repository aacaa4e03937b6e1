"""Training a backbone under a head: what is special to recognition in the common loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recipes.common.loop import LoopSettings, Report, train
from recipes.common.pictures import AugmentSettings, augment
from recipes.common.stream import PICTURE
from recipes.recognition.heads import Head, HeadSettings
from recipes.recognition.networks import Backbone, NetworkSettings, make_network, save_network
from synthface.shards.labels import labels
from training.gan.world import World, join_world
from training.recipe import to_plain

NETWORK = "network"


@dataclass(frozen=True)
class RecognitionSettings:
    """The section `recognition` of a settings file."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)


@dataclass(frozen=True)
class PrepareFace:
    """A sample to (picture (3, size, size) uint8, number of its identity among those of the split).

    Args:
        size_px: of the network's pictures.
        settings: of the augmentation.
        identities: the split's, ascending.
    """

    size_px: int
    settings: AugmentSettings
    identities: npt.NDArray[np.int64]

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], int]:
        """Augmented."""
        picture, _, _ = augment(sample["image"], self.size_px, self.settings, rng)
        number = int(np.searchsorted(self.identities, sample["identity"]))
        return np.ascontiguousarray(picture.transpose(2, 0, 1)), number


class RecognitionTask:
    """A backbone and its head."""

    files: Sequence[str] = (*PICTURE, "cls")

    def __init__(self, settings: RecognitionSettings, identities: npt.NDArray[np.int64]) -> None:
        torch.manual_seed(settings.loop.seed)
        self.network: Backbone = make_network(settings.network)
        self.head = Head(settings.head, settings.network.descriptor_size, len(identities))
        self.modules: Mapping[str, nn.Module] = {"network": self.network, "head": self.head}
        self.prepare = PrepareFace(settings.network.size_px, settings.augment, identities)

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Of pictures (N, 3, size, size) uint8 and identities (N,)."""
        pictures, identities = batch
        loss, accuracy = self.head(self.network(as_input(pictures)), identities)
        return loss, {"accuracy": accuracy}


def as_input(pictures: Tensor) -> Tensor:
    """uint8 to [−1, 1]."""
    return pictures.float() / 127.5 - 1


def train_recognition(
    settings: RecognitionSettings,
    dataset: str | Path,
    out: Path,
    *,
    device: str | None = None,
    world: World | None = None,
    max_minutes: float | None = None,
    max_steps: int | None = None,
    report: Report = print,
) -> Backbone | None:
    """Train on a dataset's split, or go on; the finished network is in `out/network`.

    Returns:
        The network, or None where a limit came before the end.

    Raises:
        DatasetError, OutputMismatchError: as for `loop.train`.
    """
    world = world or join_world(device)
    found = labels(dataset, split=settings.loop.split, columns=["identity"])["identity"].to_numpy()
    task = RecognitionTask(settings, np.unique(found).astype(np.int64))
    done = train(
        task,
        dataset,
        settings.loop,
        out,
        world,
        about=settings,
        max_minutes=max_minutes,
        max_steps=max_steps,
        report=report,
    )
    if done and world.is_main:
        trained = {"dataset": str(dataset), "images": len(found), "identities": len(task.prepare.identities)}
        save_network(out / NETWORK, task.network, trained_on=trained, recipe=to_plain(settings))
    return task.network.eval() if done else None
