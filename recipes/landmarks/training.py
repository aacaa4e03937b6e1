"""Training for landmarks and pose: what is special to them in the common loop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.common.loop import LoopSettings, Report, train
from recipes.common.pictures import AugmentSettings
from recipes.common.schedule import ScheduleSettings
from recipes.common.stream import PICTURE
from recipes.landmarks.network import LandmarkNetwork, save_network
from recipes.landmarks.targets import PrepareLandmarks
from recipes.recognition.networks import NetworkSettings
from recipes.recognition.training import as_input
from synthface.errors import DatasetError
from synthface.manifest import read_manifest
from synthface.storage import open_store
from training.gan.world import World, join_world
from training.recipe import to_plain

NETWORK = "network"
_NEEDED = ("landmarks68_px", "landmarks68_visible", "pitch_deg", "yaw_deg", "roll_deg")


@dataclass(frozen=True)
class LandmarkSettings:
    """The section `landmarks` of a settings file.

    Args:
        network: `descriptor_size` is the length of the vector before the last layer.
        augment: of the pictures; points and angles follow.
        loop: of the training.
        wing: ω of the wing loss, in fractions of the side: errors below it count by their logarithm.
        bend: ε of the wing loss, in fractions.
        point_weight: of the points' loss.
        pose_weight: of the angles' loss; 0 leaves them out, as must be where pictures are cropped by landmarks.
    """

    network: NetworkSettings = field(default_factory=lambda: NetworkSettings("mobilefacenet", descriptor_size=256))
    augment: AugmentSettings = field(
        default_factory=lambda: AugmentSettings(crop=0.8, roll_deg=20.0, zoom=0.15, shift=0.08)
    )
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(schedule=ScheduleSettings(epochs=30, learning_rate=0.05))
    )
    wing: float = 0.09
    bend: float = 0.018
    point_weight: float = 10.0
    pose_weight: float = 1.0


def wing_loss(errors: Tensor, wing: float, bend: float) -> Tensor:
    """ω ln(1 + |x| / ε) near zero, |x| − C further out; the mean over all.

    Source: Feng et al. 2018 (Wing loss, Eq. 5), with ω = 10 and ε = 2 pixels of 112 in our fractions.
    """
    size = errors.abs()
    constant = wing - wing * math.log1p(wing / bend)
    return torch.where(size < wing, wing * torch.log1p(size / bend), size - constant).mean()


class LandmarkTask:
    """A network, its loss, and its targets."""

    files: Sequence[str] = (*PICTURE, "json")

    def __init__(self, settings: LandmarkSettings) -> None:
        torch.manual_seed(settings.loop.seed)
        self.settings = settings
        self.network = LandmarkNetwork(settings.network)
        self.modules: Mapping[str, nn.Module] = {"network": self.network}
        self.prepare = PrepareLandmarks(settings.network.size_px, settings.augment)

    def loss(self, batch: Sequence[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Of pictures (N, 3, size, size) uint8, points (N, 68, 2), angles (N, 3)."""
        pictures, points, pose = batch[:3]
        found_points, found_pose = self.network(as_input(pictures))
        errors = found_points.float() - points
        loss = self.settings.point_weight * wing_loss(errors, self.settings.wing, self.settings.bend)
        if self.settings.pose_weight:
            loss = loss + self.settings.pose_weight * F.smooth_l1_loss(found_pose.float(), pose, beta=0.1)
        off = (found_pose.detach().float() - pose).abs().mean()
        return loss, {"point_error": errors.detach().norm(dim=-1).mean(), "pose_deg": torch.rad2deg(off)}


def check_labels(dataset: str | Path, *, with_pose: bool) -> None:
    """See that a dataset has what is learned.

    Raises:
        DatasetError: it hasn't.
    """
    names = {column["name"] for column in read_manifest(open_store(dataset))["columns"]}
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise DatasetError(f"{dataset}: no label {missing[0]!r}; render it with `annotations: [landmarks]`")
    if with_pose and "crop_matrix" in names:
        raise DatasetError(
            f"{dataset}: its pictures are turned upright by the crop, so the labels' roll isn't theirs; render it with "
            "`crop: full`, or set pose_weight to 0"
        )


def train_landmarks(
    settings: LandmarkSettings,
    dataset: str | Path,
    out: Path,
    *,
    device: str | None = None,
    world: World | None = None,
    max_minutes: float | None = None,
    max_steps: int | None = None,
    report: Report = print,
) -> LandmarkNetwork | None:
    """Train on a dataset's split, or go on; the finished network is in `out/network`.

    Returns:
        The network, or None where a limit came before the end.

    Raises:
        DatasetError, OutputMismatchError: as for `loop.train`.
    """
    check_labels(dataset, with_pose=settings.pose_weight > 0)
    world = world or join_world(device)
    task = LandmarkTask(settings)
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
        save_network(out / NETWORK, task.network, trained_on=str(dataset), recipe=to_plain(settings))
    return task.network.eval() if done else None
