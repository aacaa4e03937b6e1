"""From photos and their λ table to a pack: cut, widened, encoded, in parts that survive a killed run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from synthface.errors import DatasetError
from synthface.factors.mirror import Mirror
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import srgb_to_linear
from synthface.morphable.model import Factors, MorphableModel
from training.gan import pack
from training.gan.mapped import MappedTensors, pack_bits, write_mapped
from training.gan.widen import MARGIN, SUPERSAMPLE, Framed, Plan, Widening, draw_plan, make_copies, untouched
from training.lambda_table import COLUMNS, LambdaTable, read_extra, read_table, write_table
from training.photos.align import FRAME_PX, cut
from training.recipe import to_plain

F64 = npt.NDArray[np.float64]

#: λ of the rows of the pack, beside it: what the bank is made from.
TABLE, PARTS = "widened.parquet", "pack-parts"
_FORMAT = "synthface-pack-part-1"
#: Photos per part.
_CHUNK = 64


@dataclass(frozen=True)
class PackRecipe:
    """What is packed.

    Args:
        size_px: of the pictures.
        quality: of their JPEG.
        widening: the copies beside the photos; None packs the photos alone.
        source, licence: of the photos, for the card of what is trained on them.
    """

    size_px: int = 128
    quality: int = 95
    widening: Widening | None = field(default_factory=Widening)
    source: str = ""
    licence: str = ""


def pack_photos(
    photos: Path,
    table_path: Path,
    out: Path,
    recipe: PackRecipe,
    *,
    basis: MorphableBasis | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> int:
    """Write `pack.safetensors` and `widened.parquet` to `out`; a run that was killed goes on where it was.

    Args:
        photos: folder of the originals.
        table_path: λ table with the columns `source` (path below `photos`) and `crop`.
        out: the data folder.
        recipe: sizes and widening.
        basis: the morphable model; None is the bundled one.
        report: told after each part.

    Returns:
        The number of rows.

    Raises:
        DatasetError: a photo is missing, or the table lacks a column.
    """
    table = read_table(table_path)
    sources, crops = read_extra(table_path, "source"), read_extra(table_path, "crop").astype(np.float64)
    work = _Work(photos, table, tuple(sources), crops, recipe, MorphableModel(basis or MorphableBasis.load()))
    folder = out / PARTS
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(table_path, recipe)
    files = []
    for start in range(0, len(table), _CHUNK):
        files.append(folder / f"{start:07d}-{key}.safetensors")
        if not _is_whole(files[-1]):
            _write_part(files[-1], work, range(start, min(start + _CHUNK, len(table))))
        report(f"pack: {min(start + _CHUNK, len(table))}/{len(table)} photos")
    num = _assemble(files, table, work, out)
    shutil.rmtree(folder)
    return num


@dataclass(frozen=True)
class _Work:
    photos: Path
    table: LambdaTable
    sources: tuple[str, ...]
    crops: F64
    recipe: PackRecipe
    model: MorphableModel

    def variants(self, rows: range) -> Iterator[tuple[int, Plan]]:
        """Copies of the photos: whether they are flipped, and the plan."""
        widening, num = self.recipe.widening, len(rows)
        yield 0, untouched(num, mirrored=False)
        if widening is None:
            return
        if widening.mirrored:
            yield 1, untouched(num, mirrored=True)
        numbers, pose = np.array(rows, np.int64), self.table.columns["pose_rad"][list(rows)]
        for copy in range(widening.copies):
            plan = draw_plan(pose, numbers, copy, widening)
            yield int(plan.is_mirrored[0]), plan


def framed(photos: Path, sources: list[str], crops: F64, size_px: int) -> Framed:
    """Photos with their margin, as many pixels as a picture of `size_px` has samples.

    Args:
        photos: their folder.
        sources: N paths below it.
        crops: (N, 3) scale, x, y: source px to px of the frame.
        size_px: of the pictures to be made.
    """
    side = round(size_px * SUPERSAMPLE * (1 + 2 * MARGIN))
    pixels, covered = [], []
    for source, crop in zip(sources, crops, strict=True):
        try:
            with Image.open(photos / source) as image:
                photo = image.convert("RGB")
        except OSError as error:
            raise DatasetError(f"{photos / source}: can't be read ({error}); the table names it") from error
        pixels.append(np.asarray(cut(photo, crop, side, margin=MARGIN)[0]))
        ends = np.concatenate([crop[1:], crop[0] * np.array([photo.width, photo.height]) + crop[1:]])
        covered.append(ends * (2.0 / FRAME_PX) - 1.0)
    srgb = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return Framed(srgb_to_linear(srgb), torch.tensor(np.stack(covered), dtype=torch.float32))


def _write_part(path: Path, work: _Work, rows: range) -> None:
    """All copies of some photos, photo by photo."""
    recipe, number = work.recipe, list(rows)
    factors = Factors(*(f[number] for f in work.table.factors()))
    cut_out = framed(work.photos, [work.sources[n] for n in number], work.crops[number], recipe.size_px)
    mirror = Mirror.of(work.model.basis) if recipe.widening is not None and recipe.widening.mirrored else None
    jpeg, valid, vector, group = [], [], [], []
    for flipped, plan in work.variants(rows):
        made = make_copies(work.model, cut_out, factors, plan, recipe.size_px)
        new = factors._replace(sh=made.sh, pose_rad=made.pose_rad)
        if flipped:
            assert mirror is not None
            new = Factors(*(torch.from_numpy(mirror.part(n, getattr(new, n).numpy())) for n in Factors._fields))
        jpeg.append([pack.encode_photo(p, quality=recipe.quality) for p in made.pixels])
        valid.append(made.valid)
        vector.append(work.table.sizes.pack(new).numpy())
        group.append(2 * np.array(rows, np.int32) + flipped)
    files = [one for of_photo in zip(*jpeg, strict=True) for one in of_photo]
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "length": np.array(list(map(len, files)), np.int64),
        "vector": np.stack(vector, axis=1).reshape(len(files), -1),
        "valid": pack_bits(np.stack(valid, axis=1).reshape(len(files), *valid[0].shape[1:])),
        "group": np.stack(group, axis=1).reshape(-1),
    }
    write_mapped(path, arrays, {"format": _FORMAT})


def _assemble(files: list[Path], table: LambdaTable, work: _Work, out: Path) -> int:
    parts = [MappedTensors(file, _FORMAT) for file in files]
    joined: Mapping[str, npt.NDArray[Any]] = {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
    ends = np.split(joined["vector"], np.cumsum([table.columns[name].shape[1] for name in COLUMNS])[:-1], axis=1)
    keys = tuple(f"{table.keys[g // 2]}-{n}" for n, g in enumerate(joined["group"]))
    widened = LambdaTable(keys, dict(zip(COLUMNS, ends, strict=True)), table.expression_names, table.morphable_model)
    offsets = np.concatenate([[0], np.cumsum(joined["length"])])
    photos = [joined["jpeg"][a:b].tobytes() for a, b in pairwise(offsets)]
    card = {"source": work.recipe.source or str(work.photos.name), "licence": work.recipe.licence or "not stated"}
    pack.write_pack(
        out / pack.NAME,
        photos,
        widened,
        size_px=work.recipe.size_px,
        card=card,
        bits=joined["valid"],
        group=joined["group"],
    )
    write_table(out / TABLE, widened)
    return len(photos)


def _key(table_path: Path, recipe: PackRecipe) -> str:
    sha = hashlib.sha256(json.dumps(to_plain(recipe), sort_keys=True).encode())
    sha.update(table_path.read_bytes())
    return sha.hexdigest()[:16]


def _is_whole(path: Path) -> bool:
    try:
        MappedTensors(path, _FORMAT)
    except DatasetError:
        return False
    return True
