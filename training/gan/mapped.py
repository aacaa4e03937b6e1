"""Safetensors files read in place: only the rows that are asked for leave the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import DatasetError

_TYPES = {"F32": "<f4", "F16": "<f2", "U8": "u1", "I64": "<i8", "I32": "<i4"}


class MappedTensors(Mapping[str, npt.NDArray[Any]]):
    """A safetensors file as memory-mapped arrays: `file[name][rows]`.

    Args:
        path: the file.
        kind: what its metadata must say under `format`.

    Raises:
        DatasetError: the file can't be read, is cut short, or is of another kind.
    """

    def __init__(self, path: str | Path, kind: str) -> None:
        self.path = Path(path)
        try:
            header, start = _header(self.path)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: can't be read as safetensors ({error}); make it anew") from error
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        if self.metadata.get("format") != kind:
            raise DatasetError(f"{path}: its format is {self.metadata.get('format')!r}, needed: {kind!r}")
        size, needed = self.path.stat().st_size, start + max(entry["data_offsets"][1] for entry in header.values())
        if size != needed:
            raise DatasetError(f"{path}: it has {size} bytes, its header says {needed}; it is cut short: copy it anew")
        self._arrays = {name: self._map(entry, start) for name, entry in header.items()}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Any:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _map(self, entry: Mapping[str, Any], start: int) -> npt.NDArray[Any]:
        shape = tuple(entry["shape"])
        if 0 in shape:
            return np.zeros(shape, _TYPES[entry["dtype"]])
        offset = start + entry["data_offsets"][0]
        return np.memmap(self.path, dtype=_TYPES[entry["dtype"]], mode="r", offset=offset, shape=shape)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 100_000_000:
            raise ValueError("no safetensors header")
        header = json.loads(file.read(length))
    return header, 8 + length


def write_mapped(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write arrays as safetensors, under a temporary name until they are whole."""
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}.tmp")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, dict(metadata))
    temporary.replace(path)


def pack_bits(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Masks (N, H, W) as (N, H·W/8) bytes."""
    return np.packbits(mask.reshape(len(mask), -1), axis=1)


def unpack_bits(bits: npt.NDArray[np.uint8], size_px: int) -> npt.NDArray[np.float32]:
    """The inverse: (N, 1, size, size) of 0 and 1."""
    flat = np.unpackbits(bits, axis=1)[:, : size_px * size_px]
    return flat.reshape(len(bits), 1, size_px, size_px).astype(np.float32)
