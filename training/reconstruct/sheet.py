"""Photo, re-rendering and geometry side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from synthface.morphable.model import MorphableModel
from synthface.networks.reconstruction import Reconstructed, Reconstruction
from training.reconstruct.overlay import overlay

_PER_ROW, _GAP = 4, 6


@torch.no_grad()
def sheet(network: Reconstruction, model: MorphableModel, photos: Tensor, read: Reconstructed) -> Image.Image:
    """Of each photo (N, 3, s, s): itself with landmarks, the rendered head laid over it, its normals as colours."""
    strips = []
    for n in range(len(photos)):
        assert read.view is not None
        factors, view = network.sizes.unpack(read.vector[n : n + 1]), read.view[n : n + 1]
        over = overlay(model, factors, view, photos.shape[-1], with_normals=True)
        laid = over.head * over.image + (1 - over.head) * photos[n]
        shape = over.head * over.normals + (1 - over.head) * 0.9
        strips.append(_strip([_dotted(photos[n], read.landmarks[n]), laid[0], shape[0]]))
    return _grid(strips)


def _dotted(photo: Tensor, landmarks: Tensor) -> Tensor:
    result, size = photo.clone(), photo.shape[-1]
    at = (landmarks * size).long()
    at = at[((at >= 0) & (at < size)).all(dim=1)]
    result[:, at[:, 1], at[:, 0]] = torch.tensor([-1.0, 1.0, 0.0])[:, None]
    return result


def _strip(pictures: Sequence[Tensor]) -> np.ndarray:
    row = torch.cat(list(pictures), dim=2).clamp(-1, 1)
    return ((row + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _grid(strips: Sequence[np.ndarray]) -> Image.Image:
    height, width = strips[0].shape[:2]
    rows = -(-len(strips) // _PER_ROW)
    page = Image.new("RGB", (_PER_ROW * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), (250, 250, 248))
    for n, strip in enumerate(strips):
        place = (_GAP + n % _PER_ROW * (width + _GAP), _GAP + n // _PER_ROW * (height + _GAP))
        page.paste(Image.fromarray(strip), place)
    return page
