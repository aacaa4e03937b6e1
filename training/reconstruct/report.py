"""The thorough measurement of a run: metrics.json, and a sheet of photos."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.morphable.model import Factors, MorphableModel
from synthface.networks.recognition import Recogniser, centred_similarity, load_recognition
from synthface.networks.reconstruction import Reconstructed, Reconstruction
from training.reconstruct.batches import Batch, World, held_out
from training.reconstruct.measure import expression_r2, known_figures, photo_landmarks, read_all
from training.reconstruct.overlay import overlay
from training.reconstruct.recipe import Augmentation
from training.reconstruct.runs import METRICS, load_run
from training.reconstruct.sheet import sheet

SHEET = "sheet.jpg"
_NUM_SHEET = 40
#: Pictures as they are: renderings somewhere in the picture, photos as they were prepared.
_AS_THEY_ARE = Augmentation(0.1, 0.04, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)
_STILL = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)


def measure_run(
    folder: Path, world: World, *, num: int = 1000, report: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure a run's best network on what it didn't learn from; writes `metrics.json` and, of photos, `sheet.jpg`."""
    network = load_run(folder, world.basis)
    report("renderings")
    rendered = held_out(world, num, strength=_AS_THEY_ARE)
    figures: dict[str, Any] = {"renderings": known_figures(network, rendered)}
    coarse = [_coarsened(batch, 64) for batch in rendered]
    figures["renderings_64px"] = known_figures(network, coarse)
    figures["expression_r2"] = expression_r2(network, rendered)
    figures["expressions_above_0.7"] = [name for name, r2 in figures["expression_r2"].items() if r2 >= 0.7]
    if world.photos is not None:
        report("photos")
        figures["photos"] = photo_figures(network, world, held_out(world, num, strength=_STILL), folder)
    rounded = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 4))
    (folder / METRICS).write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    return rounded


def photo_figures(network: Reconstruction, world: World, batches: Sequence[Batch], folder: Path) -> dict[str, float]:
    """Landmarks, identity and colour on photos, and the sheet."""
    photos = torch.cat([batch.photos for batch in batches])
    figures = dict(photo_landmarks(network, batches, world.detector)) | {"num": len(photos)}
    model, recogniser = MorphableModel(world.basis), load_recognition()
    read = read_all(network, photos)
    figures |= likeness(network.sizes.unpack(read.vector), read, photos, model, recogniser, "")
    fitted = torch.cat([batch.vector[batch.num_renderings :] for batch in batches])
    view = torch.cat([batch.view[batch.num_renderings :] for batch in batches])
    of_fit = read._replace(vector=fitted, view=view)
    figures |= likeness(network.sizes.unpack(fitted), of_fit, photos, model, recogniser, "_of_the_fit")
    some = torch.from_numpy(np.linspace(0, len(photos) - 1, min(_NUM_SHEET, len(photos))).round().astype(np.int64))
    chosen = Reconstructed(*(column[some] for column in read))  # type: ignore[index]
    sheet(network, model, photos[some], chosen).save(folder / SHEET, quality=92)
    return figures


@torch.no_grad()
def likeness(
    factors: Factors, read: Reconstructed, photos: Tensor, model: MorphableModel, recogniser: Recogniser, suffix: str
) -> dict[str, float]:
    """How like the re-renderings are: f_id's centred distance with the face laid over the photo and with the head alone,
    the AUC of a photo's own re-rendering against others', mean colour error inside the face, levels of 255."""
    pieces: dict[str, list[Tensor]] = {name: [] for name in ("photo", "laid", "alone", "colour")}
    assert read.view is not None
    for start in range(0, len(photos), 16):
        rows = slice(start, start + 16)
        photo, landmarks = photos[rows], read.landmarks[rows]
        over = overlay(model, Factors(*(f[rows] for f in factors)), read.view[rows], photo.shape[-1])
        laid = over.face * over.image + (1 - over.face) * photo
        pieces["photo"].append(recogniser(photo, landmarks))
        pieces["laid"].append(recogniser(laid, landmarks))
        pieces["alone"].append(recogniser(over.image, landmarks))
        difference = ((over.image - photo) * over.face).sum(dim=(2, 3)) / over.face.sum(dim=(2, 3)).clamp_min(1)
        pieces["colour"].append(torch.linalg.vector_norm(difference * 127.5, dim=1))
    described = {name: torch.cat(parts) for name, parts in pieces.items()}
    mean = recogniser.mean
    distance = {name: 1 - centred_similarity(described["photo"], described[name], mean) for name in ("laid", "alone")}
    return {
        f"identity_distance{suffix}": float(distance["laid"].median()),
        f"identity_distance_head_alone{suffix}": float(distance["alone"].median()),
        f"identity_auc_head_alone{suffix}": auc(described["photo"] - mean, described["alone"] - mean),
        f"skin_colour_error{suffix}": float(described["colour"].mean()),
    }


def auc(photos: Tensor, renderings: Tensor) -> float:
    """Share of pairs in which a photo (N, D) is nearer to its own rendering than another's is, both centred."""
    unit = [torch.nn.functional.normalize(x, dim=1) for x in (photos, renderings)]
    cosine = unit[0] @ unit[1].T
    own, others = cosine.diagonal(), cosine[~torch.eye(len(cosine), dtype=torch.bool)]
    ranks = torch.searchsorted(others.sort().values, own.contiguous())
    return float(ranks.float().mean() / max(len(others), 1))


def _coarsened(batch: Batch, size_px: int) -> Batch:
    """The same pictures at another size: networks are asked to read those too."""
    from dataclasses import replace

    small = torch.nn.functional.interpolate(batch.images, size=(size_px, size_px), mode="bilinear", antialias=True)
    return replace(batch, images=small)
