"""What published layers make of many worn pictures, kept on disk, so that what reads them learns from hundreds a second.

A folder of `part-NNNN.safetensors`, each with M pictures:

    seen       f32 (M, S)          what the published layers say
    small      u8  (M, 3, 64, 64)  the picture, averaged down: what light and skin are read off
    vector     f32 (M, total)      λ, and view (M, 3)
    is_photo   u8  (M,)
    detector   f32 (M, L, 2)       the detector's landmarks; of renderings 0
    has_detector u8 (M,)

Parts draw from their own seeds, so a set made in two goes is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from synthface.networks.reconstruction import Reconstruction
from synthface.networks.trunks import LandmarkReader
from training.gan.mapped import write_mapped
from training.reconstruct.batches import Batch, Batches

FORMAT = "synthface-seen-1"
SMALL_PX = 64
_BATCH = 20
#: Steps of `Batches` that training by batches doesn't come to.
_FIRST = 10**9


@dataclass(frozen=True)
class Seen:
    """Pictures as published layers saw them; see the module's docstring."""

    seen: Tensor
    small: Tensor
    vector: Tensor
    view: Tensor
    is_photo: Tensor
    detector: Tensor
    has_detector: Tensor

    def __len__(self) -> int:
        return len(self.vector)

    def rows(self, index: Tensor) -> Seen:
        """Some of them."""
        return Seen(*(value[index] for value in vars(self).values()))

    @property
    def images(self) -> Tensor:
        """(M, 3, 64, 64) in [−1, 1]."""
        return self.small.float() / 127.5 - 1.0


@torch.no_grad()
def look(network: Reconstruction, batch: Batch, num_landmarks: int) -> Seen:
    """A batch as the network's published layers see it."""
    backbone = network.backbone
    assert isinstance(backbone, LandmarkReader)
    small = F.interpolate(batch.images, size=(SMALL_PX, SMALL_PX), mode="bilinear", antialias=True, align_corners=False)
    num, first = len(batch.images), batch.num_renderings
    detector, has = torch.zeros(num, num_landmarks, 2), torch.zeros(num, dtype=torch.bool)
    if len(batch.photos) and num_landmarks:
        detector[first:], has[first:] = batch.detector.float(), batch.has_detector
    return Seen(
        backbone.seen(batch.images.contiguous(memory_format=torch.channels_last)),
        ((small + 1) * 127.5).round().clamp(0, 255).to(torch.uint8),
        batch.vector,
        batch.view,
        torch.arange(num) >= first,
        detector,
        has,
    )


def build_seen(
    folder: Path,
    network: Reconstruction,
    batches: Batches,
    num: int,
    *,
    photos: float = 0.2,
    part: int = 1000,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Make the parts that aren't there yet.

    Args:
        folder: where they go.
        network: its published layers look.
        batches: what at.
        num: pictures; whole twenties.
        photos: share of photos.
        part: pictures per file; what is lost when the work is stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    of_photos = round(_BATCH * photos) if len(batches.taken) else 0
    world = batches.world
    num_landmarks = 0 if world.photos is None else world.photos.landmarks.shape[1]
    network.eval()
    for number in range(-(-num // part)):
        path = folder / f"part-{number:04d}.safetensors"
        if path.exists():
            continue
        steps = range(number * part // _BATCH, min((number + 1) * part, num) // _BATCH)
        pieces = [
            look(network, batches.draw(_FIRST + step, _BATCH - of_photos, of_photos), num_landmarks) for step in steps
        ]
        arrays: dict[str, npt.NDArray[Any]] = {
            name: torch.cat([vars(piece)[name] for piece in pieces]).numpy() for name in vars(pieces[0])
        }
        arrays = {name: value.astype(np.uint8) if value.dtype == bool else value for name, value in arrays.items()}
        write_mapped(path, arrays, {"format": FORMAT})
        report(f"looked at {min((number + 1) * part, num)}/{num} pictures")


def load_seen(folder: Path) -> Seen:
    """All parts that are there."""
    parts = [load_file(path) for path in sorted(folder.glob("part-*.safetensors"))]
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for name in ("is_photo", "has_detector"):
        columns[name] = columns[name].bool()
    return Seen(**columns)
