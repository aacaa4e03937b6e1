"""Estimators whose answers are known, for audits: what they read is written into the picture, or remembered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.factors.mirror import Mirror, mirror_landmarks68
from synthface.morphable.basis import MorphableBasis
from synthface.networks.backbones import BackboneConfig, fold
from synthface.networks.mapping import LambdaSizes
from synthface.networks.reconstruction import (
    Reconstructed,
    ReconstructionConfig,
    new_reconstruction,
    save_reconstruction,
)
from synthface.tiles import Picture
from tests.specs_for_tests import bundled_layout


class Sees:
    """What an estimator must say of itself."""

    def __init__(self) -> None:
        self.sizes = LambdaSizes.of(bundled_layout())
        self.expression_names: Sequence[str] = bundled_layout().expression_names
        self.num_seen = 0

    def digest(self) -> str:
        return type(self).__name__


class SeesTurnedHeads(Sees):
    """Takes a head before a dark background for one in profile, and any other for a frontal one.

    The backdrop follows ε alone, so another ε may cure it.
    """

    level = 0.0

    def __call__(self, images: Tensor) -> Reconstructed:
        self.num_seen += len(images)
        vector = torch.zeros(len(images), self.sizes.total)
        is_dark = images[:, :, :2, :2].mean(dim=(1, 2, 3)) < self.level
        vector[:, self.sizes.parts["pose_rad"].start + 1] = is_dark.float() * (np.pi / 2)
        return Reconstructed(vector, torch.full((len(images), 68, 2), 0.5))


class Remembers(Sees):
    """Has seen every picture of a dataset, and its mirror image; reads off the one that is most alike.

    Args:
        pictures: tiles as the pipeline makes them.
    """

    size_px = 24

    def __init__(self, pictures: Sequence[Picture]) -> None:
        super().__init__()
        mirror = Mirror.of(MorphableBasis.load())
        thumbnails, vectors, landmarks = [], [], []
        for picture in pictures:
            assert picture.landmarks is not None
            factors, points = picture.samples.factors, picture.landmarks
            view = self._thumbnails(torch.from_numpy(picture.view).permute(0, 3, 1, 2).float() / 127.5 - 1)
            for batch, seen, where in (
                (factors, view, points),
                (mirror.factors(factors), view.flip(3), mirror_landmarks68(points)),
            ):
                parts = [getattr(batch, name).reshape(len(batch), -1) for name in self.sizes.parts]
                vectors.append(torch.from_numpy(np.concatenate(parts, axis=1)))
                thumbnails.append(seen.flatten(1))
                landmarks.append(torch.from_numpy(np.asarray(where, np.float32)))
        self.thumbnails, self.vectors = torch.cat(thumbnails), torch.cat(vectors)
        self.landmarks = torch.cat(landmarks)

    def _thumbnails(self, images: Tensor) -> Tensor:
        return F.interpolate(images, (self.size_px, self.size_px), mode="bilinear", antialias=True)

    def __call__(self, images: Tensor) -> Reconstructed:
        self.num_seen += len(images)
        nearest = torch.cdist(self._thumbnails(images).flatten(1), self.thumbnails).argmin(dim=1)
        return Reconstructed(self.vectors[nearest], self.landmarks[nearest])


def untrained(folder: Path) -> Path:
    """A real network that has learned nothing: every head looks nearly frontal to it."""
    layout, basis = bundled_layout(), MorphableBasis.load()
    sizes = BackboneConfig(size_px=32, stem=4, widths=(6, 8), blocks=(0, 1), last=4, grid=2, features=12)
    config = ReconstructionConfig(
        name="untrained",
        architecture="plain",
        settings=sizes.to_dict(),
        num_shape=layout.num_shape,
        num_albedo=layout.num_albedo,
        expression_names=layout.expression_names,
        morphable_model=basis.name,
        morphable_model_sha256=basis.digest,
        card={},
    )
    torch.manual_seed(0)
    network = new_reconstruction(config, basis)
    network.scale.fill_(0.1)
    fold(network.eval())
    save_reconstruction(folder, network)
    return folder
