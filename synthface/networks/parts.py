"""Tensors in safetensors parts of at most 16 MiB, with hashes: what checkpoints and bundles are made of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from synthface.errors import CorruptDatasetError

PART_BYTES = 16 * 2**20
Precision = Literal["full", "half"]
_ROWS = "@rows"
#: Room for a part's header.
_HEADER_BYTES = 256 * 1024


def write_parts(folder: Path, tensors: Mapping[str, Tensor], *, stem: str = "part") -> dict[str, str]:
    """Write tensors as `<stem>-NN.safetensors` of at most 16 MiB each; returns file name to SHA-256."""
    from safetensors.torch import save

    hashes = {}
    for number, group in enumerate(_grouped(tensors)):
        name = f"{stem}-{number:02d}.safetensors"
        data = save(group)
        write_synced(folder / name, data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes


def read_parts(folder: Path, hashes: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of parts that `write_parts` wrote.

    Raises:
        CorruptDatasetError: a part differs from its hash.
        OSError: a part isn't there.
    """
    from safetensors.torch import load

    pieces: dict[str, Tensor] = {}
    for name, expected in hashes.items():
        data = (folder / name).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise CorruptDatasetError(
                f"{folder / name}: its SHA-256 is {found[:12]}…, expected {expected[:12]}…; it is damaged or cut short"
            )
        pieces |= load(data)
    return _joined(pieces)


def module_tensors(prefix: str, module: nn.Module, precision: Precision = "full") -> dict[str, Tensor]:
    """A module's parameters and buffers, named `prefix.…`; `half` stores float32 as float16."""
    tensors = {f"{prefix}.{name}": value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    if precision == "full":
        return tensors
    return {name: value.half() if value.dtype == torch.float32 else value for name, value in tensors.items()}


def load_module(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Fill a module from `module_tensors`; every tensor must be there."""
    own = {name.removeprefix(prefix + "."): value for name, value in tensors.items() if name.startswith(prefix + ".")}
    module.load_state_dict(own)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _grouped(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Tensors in groups of at most a part's size; one that is larger is cut into runs of rows."""
    groups: list[dict[str, Tensor]] = [{}]
    limit, used = PART_BYTES - _HEADER_BYTES, 0
    for name, tensor in _cut(tensors, limit):
        size = tensor.numel() * tensor.element_size()
        if used + size > limit and groups[-1]:
            groups.append({})
            used = 0
        groups[-1][name] = tensor
        used += size
    return groups


def _cut(tensors: Mapping[str, Tensor], limit: int) -> list[tuple[str, Tensor]]:
    pieces = []
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size <= limit:
            pieces.append((name, tensor))
            continue
        rows = max(1, len(tensor) * limit // size)
        pieces += [
            (f"{name}{_ROWS}{n:04d}", part.contiguous()) for n, part in enumerate(torch.split(tensor, rows, dim=0))
        ]
    return pieces


def _joined(pieces: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = {name: piece for name, piece in pieces.items() if _ROWS not in name}
    runs: dict[str, list[Tensor]] = {}
    for name in sorted(pieces):
        if _ROWS in name:
            runs.setdefault(name.partition(_ROWS)[0], []).append(pieces[name])
    return tensors | {name: torch.cat(parts) for name, parts in runs.items()}
