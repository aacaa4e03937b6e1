"""The pack: every training photo with its λ in one file.

`pack.safetensors` holds

    jpeg      u8  (bytes,)        the photos' JPEG (or PNG) files end to end, all square and of one size
    offsets   i64 (N + 1,)        where each begins
    vector    f32 (N, total)      λ, packed as `LambdaSizes` says
    valid     u8  (N, size²/8)    optional: bits of the pixels that are photo, not filled in; D looks at no others
    group     i32 (N,)            optional: rows of one group are copies of one photo, of the same handedness

and in its metadata `format`, `sizes` and `expression_names` (JSON), `size_px`, `morphable_model`, and `card` (JSON: source,
licence).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from synthface.errors import DatasetError
from synthface.networks.mapping import LambdaSizes
from training.gan.mapped import MappedTensors, pack_bits, unpack_bits, write_mapped
from training.lambda_table import LambdaTable

FORMAT = "synthface-pack-1"
NAME = "pack.safetensors"
#: Photos are kept decoded where they fit in this.
CACHE_BYTES = 4 * 2**30


class Pack:
    """Photos and their λ, by row.

    Args:
        path: the file.
        trusts_filled: take what copies had to fill in for photo as well.

    Raises:
        DatasetError: it isn't a whole pack.
    """

    def __init__(self, path: str | Path, *, trusts_filled: bool = False) -> None:
        self._trusts_filled = trusts_filled
        self._file = MappedTensors(path, FORMAT)
        meta = self._file.metadata
        self.path = Path(path)
        self.size_px = int(meta["size_px"])
        self.sizes = LambdaSizes(**json.loads(meta["sizes"]))
        self.expression_names: tuple[str, ...] = tuple(json.loads(meta["expression_names"]))
        self.morphable_model = meta["morphable_model"]
        self.card: dict[str, Any] = json.loads(meta["card"])
        self.vector = torch.from_numpy(np.array(self._file["vector"]))
        self._offsets = np.array(self._file["offsets"])
        self._group = np.array(self._file["group"]) if "group" in self._file else np.arange(len(self))
        self._by_group = np.argsort(self._group, kind="stable")
        self._first, self._size = _runs(self._group)
        self._cache = self._decode_all() if len(self) * self.size_px**2 * 3 <= CACHE_BYTES else None

    def __len__(self) -> int:
        return len(self.vector)

    def images(self, rows: Tensor) -> Tensor:
        """Photos (N, 3, H, W) in [−1, 1]."""
        index = rows.numpy()
        pixels = self._cache[index] if self._cache is not None else np.stack([self._decode(n) for n in index])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0

    def valid(self, rows: Tensor) -> Tensor | None:
        """Where the photos are photo (N, 1, H, W); None is everywhere."""
        if not self.has_valid:
            return None
        return torch.from_numpy(unpack_bits(self._file["valid"][rows.numpy()], self.size_px))

    @property
    def has_valid(self) -> bool:
        """Whether some pixels are no photo, and the pack says which."""
        return "valid" in self._file and not self._trusts_filled

    @property
    def num_photos(self) -> int:
        """Photos that the rows were made from."""
        return len(np.unique(self._group // 2)) if "group" in self._file else len(self)

    def partners(self, rows: Tensor, *, generator: torch.Generator) -> Tensor:
        """For each row one of its group, drawn at random: another copy of the same photo, or the row itself."""
        index = rows.numpy()
        nth = (torch.rand(len(rows), generator=generator).numpy() * self._size[index]).astype(np.int64)
        return torch.from_numpy(self._by_group[self._first[index] + nth])

    def _decode(self, row: int) -> npt.NDArray[np.uint8]:
        data = self._file["jpeg"][self._offsets[row] : self._offsets[row + 1]].tobytes()
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        if pixels.shape[:2] != (self.size_px, self.size_px):
            raise DatasetError(
                f"{self.path}: photo {row} is {pixels.shape[1]}×{pixels.shape[0]}, needed: {self.size_px}²"
            )
        return pixels

    def _decode_all(self) -> npt.NDArray[np.uint8]:
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(self._decode, range(len(self)))))


def _runs(group: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each row, where its group begins in the rows sorted by group, and how many it has."""
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return starts[inverse].astype(np.int64), counts[inverse].astype(np.int64)


def write_pack(
    path: Path,
    photos: Sequence[bytes],
    table: LambdaTable,
    *,
    size_px: int,
    card: Mapping[str, Any],
    valid: npt.NDArray[np.bool_] | None = None,
    bits: npt.NDArray[np.uint8] | None = None,
    group: npt.NDArray[np.int32] | None = None,
) -> None:
    """Write a pack.

    Args:
        path: of the file.
        photos: JPEG or PNG files, in the order of the table.
        table: λ of the photos.
        size_px: of every photo.
        card: where the photos come from and on what terms; it goes into the bundle's model card.
        valid: (N, H, W) which pixels are photo.
        bits: the same packed, in its place.
        group: (N,) see the module's docstring.
    """
    assert len(photos) == len(table)
    arrays: dict[str, npt.NDArray[Any]] = {
        "jpeg": np.frombuffer(b"".join(photos), np.uint8),
        "offsets": np.cumsum([0, *map(len, photos)], dtype=np.int64),
        "vector": table.vector.numpy(),
    }
    if valid is not None or bits is not None:
        arrays["valid"] = bits if valid is None else pack_bits(valid)  # type: ignore[assignment]
    if group is not None:
        arrays["group"] = group
    metadata = {
        "format": FORMAT,
        "size_px": str(size_px),
        "sizes": json.dumps(asdict(table.sizes)),
        "expression_names": json.dumps(table.expression_names),
        "morphable_model": table.morphable_model,
        "card": json.dumps(dict(card)),
    }
    write_mapped(path, arrays, metadata)


def encode_photo(pixels: npt.NDArray[np.uint8], *, quality: int = 85) -> bytes:
    """One photo (H, W, 3) as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
