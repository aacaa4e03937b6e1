"""Training one network: from the last checkpoint on, until the pictures or the clock run out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.morphable.model import Factors, MorphableModel
from synthface.networks.points import Points
from synthface.networks.recognition import Recogniser, centred_similarity
from synthface.networks.reconstruction import Reconstruction, ReconstructionConfig, new_reconstruction
from synthface.networks.trunks import FaceMeshTrunk, LandmarkReader
from training.checkpoint import (
    load_latest,
    load_module,
    load_optimiser,
    module_tensors,
    optimiser_tensors,
    save_checkpoint,
)
from training.reconstruct.batches import Batch, Batches, World, held_out
from training.reconstruct.losses import (
    FaceColours,
    component_weights,
    known,
    landmark_error,
    photometric,
    prior,
)
from training.reconstruct.measure import quick
from training.reconstruct.overlay import overlay
from training.reconstruct.pretrained import start_pretrained
from training.reconstruct.recipe import NetworkRecipe
from training.reconstruct.seen import Seen, build_seen, load_seen

Report = Callable[[str], None]
CHECKPOINTS, BEST, LOG, SEEN = "checkpoints", "best", "log.jsonl", "seen"
#: Pictures that a landmark reader's units are taken from.
_UNITS_FROM = 4_000


def new_network(world: World, recipe: NetworkRecipe, name: str) -> Reconstruction:
    """A network with random weights and the spread of the training λ as its units."""
    basis = world.basis
    config = ReconstructionConfig(
        name=name,
        architecture=recipe.architecture,
        settings=recipe.backbone.to_dict(),
        num_shape=basis.num_shape,
        num_albedo=basis.num_albedo,
        expression_names=basis.expression_names,
        morphable_model=basis.name,
        morphable_model_sha256=basis.digest,
        card={},
        skin=recipe.skin.to_dict() if recipe.skin else {},
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = new_reconstruction(config, basis)
    start_pretrained(network.backbone)
    batches = Batches(world, recipe.half, recipe.augmentation, recipe.seed)
    set_units(
        network, torch.cat([batches.draw(10**9 + k, recipe.renderings, recipe.photos).vector for k in range(1, 33)])
    )
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def look_first(
    network: Reconstruction, world: World, recipe: NetworkRecipe, out: Path, *, report: Report = lambda line: None
) -> Seen | None:
    """What published layers make of the recipe's pictures, kept in `out`, and the network's units by that; None for others."""
    backbone = network.backbone
    if not isinstance(backbone, LandmarkReader):
        return None
    batches = Batches(world, recipe.half, recipe.augmentation, recipe.seed)
    share = recipe.photos / (recipe.renderings + recipe.photos)
    build_seen(out / SEEN, network, batches, recipe.look_at, photos=share, report=report)
    seen = load_seen(out / SEEN)
    if load_latest(out / CHECKPOINTS, warn=report) is None:
        backbone.set_units(seen.seen[:_UNITS_FROM])
    return seen


def set_units(network: Reconstruction, vectors: Tensor) -> None:
    """Take mean and spread of λ (M, total) as the network's units."""
    expression = network.sizes.parts["expression"]
    network.mean.copy_(vectors.mean(dim=0))
    network.scale.copy_(vectors.std(dim=0).clamp_min(0.02))
    network.mean[expression] = torch.logit(network.mean[expression].clamp(0.02, 0.5))
    network.scale[expression] = 1.5


@dataclass
class Trainer:
    """A network being trained, and everything its losses need.

    Args:
        world: data.
        recipe: of this network.
        network: it.
        recogniser: f_id, for the term `identity`; None leaves it out.
        seen: what the network's published layers made of many pictures; with it nothing is drawn or looked at any more.
    """

    world: World
    recipe: NetworkRecipe
    network: Reconstruction
    recogniser: Recogniser | None = None
    seen: Seen | None = None

    def __post_init__(self) -> None:
        basis, recipe = self.world.basis, self.recipe
        self.batches = Batches(self.world, recipe.half, recipe.augmentation, recipe.seed)
        self.components = component_weights(basis)
        self.face = Points.of(basis, basis.face_vertices[::4])
        photos = self.world.photos
        self.colours = FaceColours(basis) if photos is not None else None
        self.detector = self.world.detector
        self.model = MorphableModel(basis) if photos is not None and self.recogniser is not None else None
        trunk: list[torch.nn.Parameter] = []
        if isinstance(self.network.backbone, FaceMeshTrunk):
            trunk = list(self.network.backbone.layers.parameters())
            for layer in list(self.network.backbone.layers)[: recipe.kept]:
                layer.requires_grad_(False)
        elif isinstance(self.network.backbone, LandmarkReader):
            self.network.backbone.layers.requires_grad_(False)
        others = [p for p in self.network.parameters() if p.requires_grad and all(p is not t for t in trunk)]
        groups = [{"params": others, "share": 1.0}, {"params": trunk, "share": recipe.trunk_lr}]
        self.optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            betas=(0.9, 0.99),
        )
        self.images = 0

    def step(self, progress: float) -> dict[str, float]:
        """One step; returns every term before its weight."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = group["share"] * recipe.lr * rate(progress, self.images)
        number = self.images // (recipe.renderings + recipe.photos)
        if self.seen is None:
            batch = self.batches.draw(number, recipe.renderings, recipe.photos)
            numbers = self.network.numbers(batch.images)
        else:
            batch, numbers = self._of_seen(self.seen, number)
        terms = self.terms(batch, numbers, with_identity=number % recipe.identity_every == 0)
        loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        # A batch that gives no finite gradient is left out.
        if torch.isfinite(norm):
            self.optimiser.step()
        self.images += recipe.renderings + recipe.photos
        return {name: float(term.detach()) for name, (_, term) in terms.items()} | {"loss": float(loss.detach())}

    def _of_seen(self, seen: Seen, number: int) -> tuple[Batch, Tensor]:
        """A batch of what was seen already, and the network's numbers of it."""
        backbone = self.network.backbone
        assert isinstance(backbone, LandmarkReader)
        rng = np.random.default_rng([self.recipe.seed, number])
        chosen = torch.from_numpy(rng.choice(len(seen), self.recipe.renderings + self.recipe.photos, replace=False))
        rows = seen.rows(chosen[torch.argsort(seen.is_photo[chosen].int(), stable=True)])
        first, images = int((~rows.is_photo).sum()), rows.images
        batch = Batch(
            images, rows.vector, rows.view, first, images[first:], rows.detector[first:], rows.has_detector[first:]
        )
        return batch, self.network.numbers_of(backbone.readout(rows.seen), images)

    def terms(self, batch: Batch, numbers: Tensor, *, with_identity: bool) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term, from the network's numbers."""
        weights, network = self.recipe.weights, self.network
        read = network.decode(numbers)
        errors = known(network, numbers, read, batch.vector, batch.view, self.components, self.face)
        share = torch.ones(len(numbers))
        share[batch.num_renderings :] = weights.photos
        terms = {name: (getattr(weights, name), (share * error).mean()) for name, error in errors.items()}
        terms["prior"] = (weights.prior, prior(numbers, network.sizes))
        if len(batch.photos) and read.view is not None:
            rows = slice(batch.num_renderings, None)
            factors, view = network.sizes.unpack(read.vector[rows]), read.view[rows]
            terms |= self._of_photos(batch, factors, view, batch.view[rows], with_identity)
        return terms

    def _of_photos(
        self, batch: Batch, factors: Factors, view: Tensor, fitted_view: Tensor, with_identity: bool
    ) -> dict[str, tuple[float, Tensor]]:
        weights = self.recipe.weights
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.detector is not None and batch.has_detector.any():
            found = self.detector(factors.shape, factors.expression, factors.pose_rad, view)
            error = landmark_error(found, batch.detector, fitted_view) * batch.has_detector
            terms["detector"] = (weights.detector, error.sum() / batch.has_detector.sum())
        if self.colours is not None and weights.photometric:
            terms["photometric"] = (weights.photometric, photometric(self.colours, factors, view, batch.photos))
        if with_identity and self.model is not None and weights.identity:
            few = slice(0, self.recipe.identity_faces)
            part = Factors(*(value[few] for value in factors))
            landmarks = self.network.points(part.shape, part.expression, part.pose_rad, view[few]).detach()
            # A step with this term stands for those without it.
            weight = weights.identity * self.recipe.identity_every
            terms["identity"] = (weight, self._identity(part, view[few], batch.photos[few], landmarks))
        return terms

    def _identity(self, factors: Factors, view: Tensor, photos: Tensor, landmarks: Tensor) -> Tensor:
        """1 − centred cosine between photos and the same with the rendered face laid over."""
        assert self.model is not None and self.recogniser is not None
        over = overlay(self.model, factors, view, photos.shape[-1])
        replaced = over.face * over.image + (1 - over.face) * photos
        with torch.no_grad():
            true = self.recogniser(photos, landmarks)
        return (1 - centred_similarity(self.recogniser(replaced, landmarks), true, self.recogniser.mean)).mean()


def rate(progress: float, images: int) -> float:
    """The learning rate over its greatest: a warm-up of 2 000 pictures, then level, then down to a hundredth by a cosine."""
    warm = min(1.0, (images + 100) / 2000)
    falling = min(max(progress - 0.4, 0.0) / 0.6, 1.0)
    return warm * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * falling))))


@dataclass(frozen=True)
class Clock:
    """When to stop: minutes from now, or never. The learning rate falls by whichever ends first, pictures or clock."""

    max_minutes: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_start", time.monotonic())

    @property
    def share(self) -> float:
        """How much of the time is gone, in [0, 1]."""
        if self.max_minutes is None:
            return 0.0
        start: float = getattr(self, "_start")  # noqa: B009
        return min(1.0, (time.monotonic() - start) / 60 / self.max_minutes)


def train(
    trainer: Trainer, out: Path, *, clock: Clock, report: Report = lambda line: None, max_images: int | None = None
) -> dict[str, Any]:
    """Train until the recipe's pictures, `max_images` or the clock are through, a step at least; returns the best figures.

    Checkpoints go to `out`, the best by the held-out error also to `out/best`.
    """
    recipe, folder = trainer.recipe, out / CHECKPOINTS
    out.mkdir(parents=True, exist_ok=True)
    best = _resume(trainer, folder, report)
    test = held_out(trainer.world, recipe.num_held_out)
    until = recipe.images if max_images is None else min(recipe.images, max_images)
    sums: dict[str, list[float]] = {}
    since, logged, kept = time.monotonic(), trainer.images, trainer.images
    is_last = trainer.images >= until
    while not is_last:
        trainer.network.train()
        for name, value in trainer.step(max(trainer.images / until, clock.share)).items():
            sums.setdefault(name, []).append(value)
        is_last = trainer.images >= until or clock.share >= 1.0
        if trainer.images - logged >= recipe.log_every or is_last:
            line = {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
            speed = (trainer.images - logged) / (time.monotonic() - since)
            _log(out, {"images": trainer.images, "images_per_s": round(speed, 1), **line})
            report(f"{trainer.images} images, {speed:.0f}/s: " + ", ".join(f"{k} {v:.3g}" for k, v in line.items()))
            sums, since, logged = {}, time.monotonic(), trainer.images
        if trainer.images - kept >= recipe.checkpoint_every or is_last:
            figures = quick(trainer.network, test, trainer.detector)
            best = _keep(trainer, out, figures, best, report)
            since, logged, kept = time.monotonic(), trainer.images, trainer.images
    return dict(best)


def _keep(
    trainer: Trainer, out: Path, figures: Mapping[str, float], best: Mapping[str, Any], report: Report
) -> Mapping[str, Any]:
    report(f"held out at {trainer.images}: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    _log(out, {"images": trainer.images, "held_out": dict(figures)})
    tensors = module_tensors("network", trainer.network)
    if not best or figures["score"] < best["score"]:
        best = {"images": trainer.images, **figures}
        save_checkpoint(out / BEST, trainer.images, tensors, {"figures": dict(figures)}, keep=1)
    tensors = tensors | optimiser_tensors("optimiser", trainer.optimiser)
    save_checkpoint(out / CHECKPOINTS, trainer.images, tensors, {"images": trainer.images, "best": dict(best)})
    return best


def _resume(trainer: Trainer, folder: Path, report: Report) -> Mapping[str, Any]:
    found = load_latest(folder, warn=report)
    if found is None:
        return {}
    load_module("network", trainer.network, found.tensors)
    load_optimiser("optimiser", trainer.optimiser, found.tensors)
    trainer.images = found.state["images"]
    report(f"going on at {trainer.images} images")
    best: Mapping[str, Any] = found.state["best"]
    return best


def _log(out: Path, entry: Mapping[str, Any]) -> None:
    with open(out / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
