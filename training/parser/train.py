"""Training the face parser on pseudo-labels, resumably."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.errors import DatasetError
from synthface.networks.backbones import fold
from synthface.networks.parser import CLASSES, Parser, UNetConfig, new_parser, save_parser
from training.checkpoint import (
    load_latest,
    load_module,
    load_optimiser,
    module_tensors,
    optimiser_tensors,
    save_checkpoint,
)
from training.parser.augment import Augmentation, Labelled, moved, recoloured, sizes_of_steps
from training.parser.labels import Labels, LabelsRecipe
from training.parser.measure import measure, results_sheet
from training.parser.pseudo import UNSURE
from training.recipe import save_resolved

Report = Callable[[str], None]

METRICS, SHEET, NETWORK = "metrics.json", "sheet.jpg", "network"


@dataclass(frozen=True)
class ParserRecipe:
    """How the face parser is made.

    Args:
        labels: how photos are labelled.
        network: its sizes.
        augmentation: how photos are changed.
        sizes_px: of the pictures before the network brings them to its own; the first every other step, the others in turn.
        steps: of training.
        batch: photos a step; each is seen in two versions.
        lr: AdamW's greatest learning rate; it rises over the first twentieth and falls to 0 along a cosine.
        weight_decay: AdamW's.
        consistency: weight of the squared difference between what is seen in the two versions.
        held_out: share of the photos kept for the figures.
        log_every, checkpoint_every: steps.
        seed: of everything.
    """

    labels: LabelsRecipe = field(default_factory=LabelsRecipe)
    network: UNetConfig = field(default_factory=UNetConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    sizes_px: tuple[int, ...] = (128, 64)
    steps: int = 600
    batch: int = 12
    lr: float = 4e-3
    weight_decay: float = 1e-4
    consistency: float = 2.0
    held_out: float = 0.1
    log_every: int = 20
    checkpoint_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sizes_px or not 0 < self.held_out < 1:
            raise ValueError(
                f"sizes_px is {self.sizes_px}, held_out {self.held_out}; allowed: some, and between 0 and 1"
            )


@dataclass(frozen=True)
class Split:
    """Rows (M,) to train on, and rows for the figures."""

    train: Tensor
    held_out: Tensor


def split_rows(count: int, recipe: ParserRecipe) -> Split:
    """The same split for the same count and seed."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(recipe.seed))
    num = max(1, round(count * recipe.held_out))
    return Split(order[num:].sort().values, order[:num].sort().values)


def train(
    labels: Path, out: Path, recipe: ParserRecipe, *, max_minutes: float | None = None, report: Report
) -> dict[str, Any]:
    """Train on a folder of labels, from the last checkpoint in `out` on, and write what ships to `out/network`.

    Returns:
        The figures that `metrics.json` holds; where time ran out, only how far training has come.

    Raises:
        DatasetError: the labels aren't there or too few.
    """
    data = Labels(labels)
    split = split_rows(len(data), recipe)
    if len(split.train) < 2:
        raise DatasetError(f"{labels}: {len(data)} photos; at least 3 are needed to train and measure")
    out.mkdir(parents=True, exist_ok=True)
    save_resolved(out / "recipe.resolved.json", "parser", recipe)
    parser, curve = _train(data, split, out, recipe, max_minutes, report)
    if len(curve) < recipe.steps:
        return {"steps": len(curve), "of": recipe.steps, "loss": curve[-1] if curve else None}
    parser = fold_and_round(parser)
    figures = {
        "num_photos": len(data),
        "num_held_out": len(split.held_out),
        "steps": recipe.steps,
        "final_loss": round(float(np.mean(curve[-20:])), 4),
        "num_weights": sum(p.numel() for p in parser.parameters()),
        **measure(parser, data, split.held_out),
    }
    config = replace(parser.config, card={"trained_on": "pseudo-labels", "figures": figures})
    save_parser(out / NETWORK, Parser(config, parser.network))
    results_sheet(parser, data, split.held_out).save(out / SHEET, quality=90)
    (out / "curve.json").write_text(json.dumps(curve) + "\n", encoding="utf-8")
    (out / METRICS).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def fold_and_round(parser: Parser) -> Parser:
    """The parser as it will be when it is loaded: normalisation folded in, weights rounded to float16."""
    fold(parser.eval())
    for weights in parser.parameters():
        weights.requires_grad_(False).copy_(weights.half().float())
    return parser


def step_loss(parser: Parser, seen: Labelled, weights: Tensor, recipe: ParserRecipe, rng: torch.Generator) -> Tensor:
    """Cross-entropy where labels are sure, and agreement between two versions of each picture everywhere."""
    versions = [recoloured(seen, recipe.augmentation, generator=rng) for _ in range(2)]
    logits = parser(torch.cat(versions))
    target = torch.where(seen.labels == UNSURE, -100, seen.labels.long()).repeat(2, 1, 1)
    loss = F.cross_entropy(logits, target, weight=weights, ignore_index=-100)
    first, second = logits.softmax(dim=1).chunk(2)
    return loss + recipe.consistency * (first - second).square().sum(dim=1).mean()


def class_weights(data: Labels, rows: Tensor) -> Tensor:
    """(C,) of mean 1 over pixels: small parts count more, but far less than they are rare, or they'd grow fat."""
    some = rows[:: max(1, len(rows) // 200)]
    counts = torch.bincount(data.labels(some).reshape(-1).long(), minlength=256)[: len(CLASSES)].float()
    share = (counts / counts.sum()).clamp_min(1e-4)
    weights = share**-0.35
    return weights / (share * weights).sum()


def _train(
    data: Labels, split: Split, out: Path, recipe: ParserRecipe, max_minutes: float | None, report: Report
) -> tuple[Parser, list[float]]:
    """The parser after all steps, or after as many as time allows, and the loss at each."""
    began = time.monotonic()
    torch.manual_seed(recipe.seed)
    parser = new_parser(recipe.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(parser.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    weights = class_weights(data, split.train)
    curve: list[float] = []
    found = load_latest(out / "checkpoints", warn=report)
    if found is not None:
        load_module("parser", parser, found.tensors)
        load_optimiser("optimiser", optimiser, found.tensors)
        curve = list(found.state["curve"])
    while len(curve) < recipe.steps:
        step = len(curve)
        for settings in optimiser.param_groups:
            settings["lr"] = recipe.lr * _schedule(step / recipe.steps)
        # Each step draws from its own seed, so a resumed run equals an unbroken one.
        rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        rows = split.train[torch.randint(len(split.train), (recipe.batch,), generator=rng)]
        canvases = Labelled(data.photos(rows), data.labels(rows), data.mattes(rows))
        seen = moved(canvases, recipe.augmentation, sizes_of_steps(recipe.sizes_px, step), generator=rng)
        loss = step_loss(parser, seen, weights, recipe, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        curve.append(round(float(loss.detach()), 5))
        if len(curve) % recipe.log_every == 0:
            minutes = (time.monotonic() - began) / 60
            report(
                f"step {len(curve)}/{recipe.steps}, loss {np.mean(curve[-recipe.log_every :]):.3f}, {minutes:.1f} min"
            )
        is_late = max_minutes is not None and time.monotonic() - began > 60 * max_minutes
        if is_late or len(curve) % recipe.checkpoint_every == 0 or len(curve) == recipe.steps:
            tensors = module_tensors("parser", parser) | optimiser_tensors("optimiser", optimiser)
            save_checkpoint(out / "checkpoints", len(curve), tensors, {"curve": curve})
        if is_late:
            break
    return parser.eval(), curve


def _schedule(done: float) -> float:
    """Share of the learning rate after a share of the steps."""
    return min(1.0, 0.05 + done / 0.05) * 0.5 * (1 + float(np.cos(np.pi * done)))
