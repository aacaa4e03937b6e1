"""λ of every prepared photo, to a λ table: what `python -m training extract` does.

`lambda.parquet` in the format of `lambda_table`, with the further columns

    source         text        the photo's file
    crop           list[3]     source px to px of the camera's view of λ (translation cancelled), as the fit's table has it
    landmarks      list[136]   68 landmarks in the prepared canvas, px: x, y, x, y…
    view           list[3]     log zoom, x, y of the camera's picture in the prepared frame, fractions
    error          float       mean L2 distance over RGB (sRGB in [0, 1]) of photo and re-rendering inside the face
    mask           binary      the face's region, `mask_px`² bits, row by row, most significant first, in the prepared frame

The work is kept in parts; a run that was stopped goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from synthface.errors import DatasetError
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import MorphableModel
from synthface.networks.reconstruction import Reconstruction
from training.gan.mapped import MappedTensors, pack_bits, write_mapped
from training.lambda_table import COLUMNS, LambdaTable, write_table
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX
from training.photos.prepared import PreparedPhotos
from training.reconstruct.overlay import overlay

FORMAT = "synthface-extracted-part-1"
TABLE, METRICS = "lambda.parquet", "metrics.json"
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ExtractRecipe:
    """How photos are read.

    Args:
        part: photos per file of the work in between; what is lost when it is stopped.
        batch: photos at a time.
        mask_px: of masks, and of the pictures that the error is taken on.
    """

    part: int = 500
    batch: int = 25
    mask_px: int = 64


def extract(
    prepared: Path,
    out: Path,
    network: Reconstruction,
    basis: MorphableBasis,
    recipe: ExtractRecipe,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Read every photo of a prepared folder and write the table; returns figures.

    Raises:
        DatasetError: the network reads λ of another morphable model.
    """
    if network.config.morphable_model_sha256 != basis.digest:
        raise DatasetError(
            f"network {network.config.name!r} reads λ of morphable model {network.config.morphable_model_sha256[:12]}…, "
            f"given: {basis.digest[:12]}…; name the model that it was trained with"
        )
    photos, model = PreparedPhotos(prepared), MorphableModel(basis)
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    own = _fingerprint(photos, network, recipe)
    for start in range(0, len(photos), recipe.part):
        path, stop = parts / f"part-{start:07d}.safetensors", min(start + recipe.part, len(photos))
        if _is_done(path, own):
            continue
        rows = [list(range(k, min(k + recipe.batch, stop))) for k in range(start, stop, recipe.batch)]
        pieces = [_read(photos, batch, network, model, recipe.mask_px) for batch in rows]
        arrays = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        write_mapped(path, arrays, {"format": FORMAT, "of": own})
        report(f"extract: {stop}/{len(photos)}")
    return _gather(photos, sorted(parts.glob("part-*.safetensors")), out, network)


@torch.no_grad()
def _read(
    photos: PreparedPhotos, rows: list[int], network: Reconstruction, model: MorphableModel, mask_px: int
) -> dict[str, Array]:
    inner = slice(MARGIN_PX, MARGIN_PX + FRAME_PX)
    pixels = np.stack([photos.photo(n)[inner, inner] for n in rows])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    read = network(images)
    assert read.view is not None
    over = overlay(model, network.sizes.unpack(read.vector), read.view, mask_px)
    small = torch.nn.functional.interpolate(images, size=(mask_px, mask_px), mode="bilinear", antialias=True)
    distance = torch.linalg.vector_norm((over.image - small) / 2, dim=1, keepdim=True)
    error = (distance * over.face).sum(dim=(1, 2, 3)) / over.face.sum(dim=(1, 2, 3)).clamp_min(1)
    return {
        "vector": read.vector.numpy(),
        "landmarks": (read.landmarks * FRAME_PX + MARGIN_PX).flatten(1).numpy(),
        "view": read.view.numpy(),
        "error": error.numpy(),
        "mask": pack_bits(over.face[:, 0].bool().numpy()),
    }


def _gather(photos: PreparedPhotos, parts: list[Path], out: Path, network: Reconstruction) -> dict[str, Any]:
    files = [MappedTensors(path, FORMAT) for path in parts]
    data = {name: np.concatenate([np.array(f[name]) for f in files]) for name in files[0]}
    sizes = network.sizes
    columns = {name: data["vector"][:, sizes.parts[name]] for name in COLUMNS}
    config = network.config
    table = LambdaTable(photos.rows.key, columns, config.expression_names, config.morphable_model)
    extra = {
        "source": list(photos.rows.source),
        "crop": _crops(photos.rows.crop, data["view"]),
        "landmarks": data["landmarks"],
        "view": data["view"],
        "error": data["error"],
    }
    temporary = out / f".{TABLE}"
    write_table(temporary, table, extra=extra)
    _add_masks(temporary, data["mask"])
    temporary.replace(out / TABLE)
    figures = {
        "num_photos": len(table),
        "network": config.name,
        "error": {f"p{q:02d}": round(float(np.percentile(data["error"], q)), 4) for q in (5, 50, 95)},
    }
    (out / METRICS).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def _crops(prepared: Array, view: Array) -> Array:
    """(M, 3) crops of the sources that the camera sees λ in: the view is cancelled. The inverse of `photos.view_of`."""
    shrink = np.exp(-view[:, :1].astype(np.float64))
    half = FRAME_PX / 2
    shifted = prepared[:, 1:] - half - view[:, 1:] * FRAME_PX
    return np.concatenate([prepared[:, :1] * shrink, shifted * shrink + half], axis=1)


def _add_masks(path: Path, masks: npt.NDArray[np.uint8]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    column = pa.array([row.tobytes() for row in masks], pa.binary(masks.shape[1]))
    side = round((masks.shape[1] * 8) ** 0.5)
    metadata = {**(table.schema.metadata or {}), b"mask_px": str(side).encode(), b"canvas_px": str(CANVAS_PX).encode()}
    pq.write_table(table.append_column("mask", column).replace_schema_metadata(metadata), path, compression="zstd")


def _fingerprint(photos: PreparedPhotos, network: Reconstruction, recipe: ExtractRecipe) -> str:
    """What parts depend on."""
    import hashlib

    sha = hashlib.sha256("\n".join(photos.rows.key).encode())
    for tensor in network.state_dict().values():
        sha.update(tensor.numpy().tobytes())
    return f"{sha.hexdigest()} {recipe.part} {recipe.mask_px}"


def _is_done(path: Path, own: str) -> bool:
    try:
        return MappedTensors(path, FORMAT).metadata["of"] == own
    except DatasetError:
        return False
