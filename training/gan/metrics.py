"""Figures of a run: how near generated pictures are to photos, how varied, and whether they do what λ asks.

`fd[features]` is taken on the network that the losses may look through; `fd[mobileface]` on the second recognition network
that ships, which no loss sees: descriptors of crops laid by the landmarks that λ projects to, of photos and fakes alike.

Source: Heusel et al. 2017 (Fréchet distance). It is called `fd[…]` by the features it is taken on, never FID, which means one
particular network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.networks.recognition import load_recognition
from training.gan.frozen import Features, Frozen, Reconstructor
from training.gan.heads import project_landmarks
from training.gan.trainer import Trainer

#: Pictures go through the networks this many at a time.
_CHUNK = 32


@dataclass(frozen=True)
class Sample:
    """Generated pictures (N, 3, H, W) and the λ (N, total) that was asked for."""

    images: Tensor
    vector: Tensor


@torch.no_grad()
def draw_sample(trainer: Trainer, num: int) -> Sample:
    """Pictures by the averaged generator, as rendering would make them: ε ~ N(0, I), λ as in training."""
    rng = trainer.rng("metrics")
    vector = trainer.data.random_vectors(num, generator=rng)
    noise = torch.randn(num, trainer.recipe.network.num_noise, generator=rng)
    resolutions = [r for r in trainer.average.config.synthesis.noise_resolutions if r <= trainer.resolution]
    pictures = []
    for start in range(0, num, _CHUNK):
        rows = slice(start, start + _CHUNK)
        lam, eps = vector[rows].to(trainer.world.device), noise[rows].to(trainer.world.device)
        maps = [torch.randn(len(lam), 1, r, r, generator=rng).to(lam.device) for r in resolutions]
        pictures.append(trainer.average(lam, eps, maps, level=trainer.level).clamp(-1, 1).cpu())
    return Sample(torch.cat(pictures), vector)


def measure(trainer: Trainer, frozen: Frozen) -> dict[str, float]:
    """All figures that the frozen networks at hand allow."""
    num = trainer.recipe.outputs.num_metric_images
    sample = draw_sample(trainer, num)
    rows = torch.randperm(len(trainer.data.pack), generator=torch.Generator().manual_seed(0))[:num]
    size = sample.images.shape[-1]
    real = F.adaptive_avg_pool2d(trainer.data.pack.images(rows), size)
    name = "thumbnails" if frozen.features is None else "features"
    figures = {
        "fd": frechet_distance(*(_described(images, frozen.features, trainer) for images in (real, sample.images))),
        "spread": float(sample.images.std(dim=0).mean() / real.std(dim=0).mean()),
    }
    figures[f"fd[{name}]"] = figures["fd"]
    figures["fd[mobileface]"] = face_distance(
        (real, trainer.data.pack.vector[rows]), (sample.images, sample.vector), trainer
    )
    reader = frozen.judge or frozen.reconstruction
    if reader is not None:
        figures |= control(sample, reader, trainer)
    return figures


@torch.no_grad()
def face_distance(real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], trainer: Trainer) -> float:
    """Fréchet distance of the second recognition network's descriptors; pictures (N, 3, H, W) with their λ (N, total)."""
    device, sizes = trainer.world.device, trainer.data.sizes
    network = load_recognition("mobileface").to(device)
    described = []
    for images, vector in (real, fake):
        places = project_landmarks(vector, sizes)
        chunks = zip(images.split(_CHUNK), places.split(_CHUNK), strict=True)
        described.append(torch.cat([network(x.to(device), at.to(device)).cpu() for x, at in chunks]))
    return frechet_distance(described[0], described[1])


@torch.no_grad()
def control(sample: Sample, reader: Reconstructor, trainer: Trainer) -> dict[str, float]:
    """Asked for against read off the pictures: correlations, and errors of pose in degrees."""
    device, sizes = trainer.world.device, trainer.data.sizes
    parts = [reader(images.to(device)) for images in torch.split(sample.images, _CHUNK)]
    read = torch.cat([part.vector.cpu() for part in parts])
    asked, pose = sample.vector, sizes.parts["pose_rad"].start
    figures = {}
    for number, name in enumerate(("pitch", "yaw", "roll")):
        column = pose + number
        figures[f"{name}_correlation"] = correlation(asked[:, column], read[:, column])
        figures[f"{name}_error_deg"] = math.degrees(float((asked[:, column] - read[:, column]).abs().mean()))
    sh = sizes.parts["sh"].start
    # Coefficients 1–3 of the mean over R, G, B: where the light comes from.
    first_band = [v[:, sh : sh + 27].reshape(-1, 3, 9).mean(dim=1)[:, 1:4] for v in (asked, read)]
    figures["light_correlation"] = correlation(first_band[0].flatten(), first_band[1].flatten())
    figures["expression_correlation"] = mean_correlation(asked, read, sizes.columns("expression"))
    return figures


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's r; 0 where one of them is constant."""
    a, b = first - first.mean(), second - second.mean()
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 1e-12 else 0.0


def mean_correlation(first: Tensor, second: Tensor, columns: Tensor) -> float:
    """The mean of the columns' correlations."""
    return float(np.mean([correlation(first[:, c], second[:, c]) for c in columns.tolist()]))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """‖μ₁ − μ₂‖² + tr(C₁ + C₂ − 2 (C₁ C₂)^½) of two sets of rows (N, D), in double precision."""
    first, second = first.double(), second.double()
    covariances = [torch.cov(rows.T).reshape(rows.shape[1], rows.shape[1]) for rows in (first, second)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp_min(0).sqrt().sum()
    means = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    return float(means + covariances[0].trace() + covariances[1].trace() - 2 * cross)


def thumbnails(images: Tensor) -> Tensor:
    """Where no feature network is given: colours on an 8 × 8 grid and edge strengths on a 4 × 4 one, (N, 224)."""
    colours = F.adaptive_avg_pool2d(images, 8).flatten(1)
    grey = images.mean(dim=1, keepdim=True)
    across = F.adaptive_avg_pool2d(grey.diff(dim=3).abs(), 4).flatten(1)
    down = F.adaptive_avg_pool2d(grey.diff(dim=2).abs(), 4).flatten(1)
    return torch.cat([colours, across, down], dim=1)


@torch.no_grad()
def _described(images: Tensor, features: Features | None, trainer: Trainer) -> Tensor:
    if features is None:
        return thumbnails(images)
    device = trainer.world.device
    return torch.cat([features(part.to(device))[-1].mean(dim=(2, 3)).cpu() for part in torch.split(images, _CHUNK)])


def is_better(name: str, figures: Mapping[str, float], best: float | None) -> bool:
    """Whether a figure beats the best so far; `-` before its name where more is better."""
    value = score(name, figures)
    return best is None or value < best


def score(name: str, figures: Mapping[str, float]) -> float:
    """The figure, turned so that less is better."""
    return -figures[name[1:]] if name.startswith("-") else figures[name]
