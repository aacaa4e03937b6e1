"""Photos relit by the ratio of two shadings of the fitted head: how steady is the parser when only the light changes?

Source: ratio images of Shashua and Riklin-Raviv 2001. What the mesh doesn't cover, hair beyond the skull and what is behind,
takes the ratio of the nearest part of the head, softly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.errors import DatasetError
from synthface.factors import lighting
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import linear_to_srgb, shading, srgb_to_linear
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.rasterizer import blend, rasterize
from synthface.networks.parser import Parser
from training.lambda_table import read_extra, read_table
from training.parser.measure import hair_changes
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX
from training.photos.prepared import PreparedPhotos

_BATCH, _SIZE_PX = 16, 128
#: The ratio is kept between this and its inverse: beyond it photos have clipped.
_DARKEST = 0.25


def measure_relit(
    parser: Parser,
    prepared: Path,
    table: Path,
    *,
    morphable: Path | None = None,
    leave_out: Sequence[str] = (),
    num_photos: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """How much the probability of hair changes when photos are relit from a random side.

    Args:
        parser: the network.
        prepared: the photos.
        table: λ of them, with the crop of each, as `python -m training fit` writes it.
        morphable: the model that λ belongs to; the bundled one when None.
        leave_out: keys of photos that aren't to be looked at, those trained on say.
        num_photos: spread over the others.
        seed: of the lights.

    Raises:
        DatasetError: photos and table have nothing in common.
    """
    photos, factors = PreparedPhotos(prepared), read_table(table)
    crops = dict(zip(factors.keys, read_extra(table, "crop"), strict=True))
    place = {key: row for row, key in enumerate(photos.rows.key)}
    left_out = set(leave_out)
    rows = [row for row, key in enumerate(factors.keys) if key in place and key not in left_out]
    if not rows:
        raise DatasetError(f"{table}: none of its photos are among those of {prepared} that may be looked at")
    rows = rows[:: max(1, len(rows) // num_photos)][:num_photos]
    model = MorphableModel(MorphableBasis.load(morphable))
    generator, every = np.random.default_rng(seed), factors.factors()

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(rows), _BATCH):
            part = rows[first : first + _BATCH]
            keys = [factors.keys[row] for row in part]
            pictures = torch.cat([_seen(photos, place[key], crops[key]) for key in keys])
            lit = Factors(*(values[part] for values in every))
            light = torch.from_numpy(_random_light(generator, len(part))).float()
            yield pictures * 2 - 1, relit(model, pictures, lit, light) * 2 - 1

    return {"num_photos": len(rows), **hair_changes(parser, pairs())}


@torch.no_grad()
def relit(model: MorphableModel, pictures: Tensor, factors: Factors, light: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) in [0, 1] of heads of λ under other light (N, 3, 9), as bright on average over the head."""
    size = pictures.shape[-1]
    mesh = model(factors)
    fragments = rasterize(camera.project(mesh.vertices), model.faces, size, size)
    normals = F.normalize(blend(fragments.face_idx, fragments.bary, model.faces, mesh.normals), dim=-1, eps=1e-12)
    old, new = (shading(normals, sh).clamp_min(0.05).permute(0, 3, 1, 2) for sh in (factors.sh, light))
    head = (fragments.face_idx >= 0)[:, None].float()
    ratio = (new / old).log()
    ratio = ratio - (ratio * head).sum(dim=(1, 2, 3), keepdim=True) / (3 * head.sum(dim=(1, 2, 3), keepdim=True))
    log_gain = _spread(ratio.clamp(np.log(_DARKEST), -np.log(_DARKEST)), head)
    return linear_to_srgb(srgb_to_linear(pictures) * log_gain.exp())


def _spread(values: Tensor, weight: Tensor) -> Tensor:
    """Values (N, C, S, S) inside (weight 1), and beyond it what is near, coarser with distance."""
    result, levels = values * weight, []
    sums, total = result, weight
    while sums.shape[-1] > 1:
        levels.append((sums, total))
        sums, total = F.avg_pool2d(sums, 2, ceil_mode=True), F.avg_pool2d(total, 2, ceil_mode=True)
    coarse = sums / total.clamp_min(1e-6)
    for sums, total in reversed(levels):
        size = sums.shape[-2:]
        coarse = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        share = (4 * total).clamp_max(1.0)
        coarse = share * sums / total.clamp_min(1e-6) + (1 - share) * coarse
    return coarse


def _random_light(generator: np.random.Generator, num: int) -> np.ndarray:
    """(N, 3, 9) a light from up to 70° to either side over ambient light."""
    azimuth, elevation = generator.uniform(-70, 70, num), generator.uniform(-20, 50, num)
    return lighting.ambient(np.full(num, 0.35)) + lighting.directional(azimuth, elevation, np.full(num, 0.8))


def _seen(photos: PreparedPhotos, row: int, crop: np.ndarray) -> Tensor:
    """(1, 3, S, S) in [0, 1] the photo as the camera of the fitted head sees it; crop (3,) from source px to its frame."""
    canvas = torch.from_numpy(np.array(photos.photo(row))).permute(2, 0, 1)[None].float() / 255
    own = photos.rows.crop[row]
    # From px of the fitted frame to px of the canvas, then both in [−1, 1].
    scale = float(own[0] / crop[0])
    shift = own[1:] + MARGIN_PX - scale * crop[1:]
    zoom = scale * FRAME_PX / CANVAS_PX
    offset = 2 * (shift + scale * FRAME_PX / 2) / CANVAS_PX - 1
    matrix = torch.tensor([[[zoom, 0, float(offset[0])], [0, zoom, float(offset[1])]]], dtype=torch.float32)
    fine = 2 * _SIZE_PX
    grid = F.affine_grid(matrix, [1, 1, fine, fine], align_corners=False)
    return F.avg_pool2d(F.grid_sample(canvas, grid, padding_mode="border", align_corners=False), 2)
