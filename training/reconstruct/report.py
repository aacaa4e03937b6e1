"""The thorough measurement of a run: metrics.json, and a sheet of photos."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from synthface.morphable.model import Factors, MorphableModel
from synthface.networks.recognition import Recogniser, centred_similarity, load_recognition
from synthface.networks.reconstruction import Reconstructed, Reconstruction
from training.reconstruct.bank import CANVAS_SHARE
from training.reconstruct.batches import Batch, World, held_out
from training.reconstruct.measure import expression_r2, known_figures, photo_landmarks, read_all
from training.reconstruct.overlay import overlay
from training.reconstruct.photos import split
from training.reconstruct.recipe import Augmentation
from training.reconstruct.runs import METRICS, load_run
from training.reconstruct.sheet import sheet
from training.reconstruct.warp import Warp

SHEET = "sheet.jpg"
_NUM_SHEET = 40
#: Pictures as they are: renderings somewhere in the picture, photos as they were prepared.
_AS_THEY_ARE = Augmentation(0.1, 0.04, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)
_STILL = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)


def measure_run(
    folder: Path,
    world: World,
    *,
    num: int = 1000,
    num_likeness: int = 200,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure a run's best network on what it didn't learn from; writes `metrics.json` and, of photos, `sheet.jpg`.

    Args:
        folder: of the run.
        world: its data.
        num: pictures of each kind, at most.
        num_likeness: photos whose re-renderings are compared with them; it takes by far the longest.
        report: told what is being measured.
    """
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
        batches = held_out(world, num, strength=_STILL)
        figures["photos"] = photo_figures(network, world, batches, num_likeness)
        _sheet(network, world).save(folder / SHEET, quality=92)
    rounded = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 4))
    (folder / METRICS).write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
    return rounded


def photo_figures(
    network: Reconstruction, world: World, batches: Sequence[Batch], num_likeness: int
) -> dict[str, float]:
    """Landmarks, identity and colour on photos: as the network reads them, and as they were fitted."""
    photos = torch.cat([batch.photos for batch in batches])
    figures = dict(photo_landmarks(network, batches, world.detector)) | {"num": len(photos)}
    some = slice(0, num_likeness)
    photos = photos[some]
    if not len(photos):
        return figures
    model, recogniser = MorphableModel(world.basis), load_recognition()
    read = read_all(network, photos)
    vector, view = (
        torch.cat([getattr(b, name)[b.num_renderings :] for b in batches])[some] for name in ("vector", "view")
    )
    for suffix, found in (("", read), ("_of_the_fit", read._replace(vector=vector, view=view))):
        figures |= likeness(network.sizes.unpack(found.vector), found, photos, model, recogniser, suffix)
    return figures | {"num_likeness": len(photos)}


def _sheet(network: Reconstruction, world: World) -> Image.Image:
    """Of held-out photos, larger than the network sees them."""
    assert world.photos is not None
    rows = np.flatnonzero(split(world.photos.keys) == -1)
    rows = rows[np.linspace(0, len(rows) - 1, min(_NUM_SHEET, len(rows))).round().astype(np.int64)]
    canvas = world.photos.canvas[rows].float() / 127.5 - 1.0
    photos = Warp.none(len(rows)).pictures(canvas, round(canvas.shape[-1] / CANVAS_SHARE))
    return sheet(network, MorphableModel(world.basis), photos, read_all(network, photos))


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
