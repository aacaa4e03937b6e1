"""How well the parser does on photos that it wasn't trained on, and how steady it is when the light changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from synthface.morphable.lighting import linear_to_srgb, srgb_to_linear
from synthface.networks.parser import CLASSES, Parser
from training.parser.augment import Labelled, framed, gain_fields
from training.parser.labels import Labels
from training.parser.pseudo import UNSURE
from training.parser.sheet import label_sheet
from training.photos.sheets import evenly

HAIR = CLASSES.index("hair")
#: Sizes that overlap is measured at.
SIZES_PX = (64, 128, 256)
#: Standard deviation of the log gain of the fields that light is changed by: a quarter of the pixels change by a third or more.
RELIGHT = 0.4
_BATCH, _SHEET_PHOTOS = 16, 40


def measure(parser: Parser, data: Labels, rows: Tensor) -> dict[str, Any]:
    """Overlap with the pseudo-labels per class and size, and steadiness under changed light at 128 px."""
    return {
        "iou": {str(size): overlap(parser, data, rows, size) for size in SIZES_PX},
        "relit_by_gain_fields": steadiness(parser, data, rows),
    }


@torch.no_grad()
def overlap(parser: Parser, data: Labels, rows: Tensor, size_px: int) -> dict[str, float]:
    """Intersection over union of each class over all pixels that the pseudo-labels are sure of, and the mean."""
    num = len(parser.classes)
    confusion = torch.zeros(num, num, dtype=torch.int64)
    for seen in _batches(data, rows, size_px):
        found = parser(seen.photos * 2 - 1).argmax(dim=1)
        sure = seen.labels != UNSURE
        pairs = seen.labels[sure].long() * num + found[sure]
        confusion += torch.bincount(pairs, minlength=num * num).reshape(num, num)
    both = confusion.diagonal().double()
    union = confusion.sum(dim=0) + confusion.sum(dim=1) - confusion.diagonal()
    share = {name: float(both[n] / union[n]) for n, name in enumerate(parser.classes) if union[n] > 0}
    return {name: round(value, 4) for name, value in {**share, "mean": sum(share.values()) / len(share)}.items()}


@torch.no_grad()
def steadiness(parser: Parser, data: Labels, rows: Tensor, *, size_px: int = 128, seed: int = 0) -> dict[str, float]:
    """How much the probability of hair changes when a smooth gain field changes the light."""
    generator = torch.Generator().manual_seed(seed)

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for seen in _batches(data, rows, size_px):
            log_gain = gain_fields(len(seen.photos), size_px, RELIGHT, generator=generator)
            relit = linear_to_srgb(srgb_to_linear(seen.photos) * log_gain.exp())
            yield seen.photos * 2 - 1, relit * 2 - 1

    return hair_changes(parser, pairs())


@torch.no_grad()
def hair_changes(parser: Parser, pairs: Iterator[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """How much the probability of hair differs between pictures (N, 3, H, W) in [−1, 1]: mean, mean square (the term of
    Eq. 7), and the share of pixels that turn from hair to something else or back.
    """
    total, mean, square, turned = 0, 0.0, 0.0, 0.0
    for one, other in pairs:
        first, second = (parser.probability(images, "hair") for images in (one, other))
        change = first - second
        mean += float(change.abs().mean()) * len(one)
        square += float(change.square().mean()) * len(one)
        turned += float(((first > 0.5) != (second > 0.5)).float().mean()) * len(one)
        total += len(one)
    figures = {"mean_change": mean / total, "mean_square": square / total, "turned": turned / total}
    return {name: round(value, 5) for name, value in figures.items()}


@torch.no_grad()
def results_sheet(parser: Parser, data: Labels, rows: Tensor, *, size_px: int = 128) -> Image.Image:
    """Held-out photos: photo, pseudo-labels, what the network sees."""
    chosen = rows[torch.tensor(evenly(len(rows), _SHEET_PHOTOS))]
    seen = list(_batches(data, chosen, size_px))
    photos, labels = (torch.cat([getattr(part, name) for part in seen]) for name in ("photos", "labels"))
    found = torch.cat([parser(part.photos * 2 - 1).argmax(dim=1) for part in seen])
    return label_sheet(photos, labels, found.to(torch.uint8), columns=4)


def _batches(data: Labels, rows: Tensor, size_px: int) -> Iterator[Labelled]:
    for part in torch.split(rows, _BATCH):
        yield framed(Labelled(data.photos(part), data.labels(part), data.mattes(part)), size_px)
