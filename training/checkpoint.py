"""Checkpoints: tensors in safetensors parts, written whole or not at all, and checked when read.

A checkpoint is a folder `<number of images>/` with `part-NN.safetensors` and `state.json`, which names the parts with their
hashes and is written last. The folder appears by a rename. A damaged checkpoint is noticed and the one before it is
used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from synthface.errors import CorruptDatasetError, OutputSpaceError

PART_BYTES = 16 * 2**20
STATE = "state.json"
Precision = Literal["full", "half"]
_ROWS = "@rows"
#: Room for a part's header.
_HEADER_BYTES = 256 * 1024


@dataclass(frozen=True)
class Checkpoint:
    """What was saved.

    Args:
        step: the number under which it was saved.
        tensors: name to tensor, in the type they were saved in.
        state: the rest, as JSON.
    """

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, keep: int = 2
) -> Path:
    """Write `folder/<step>`, then remove all but the last `keep` checkpoints in `folder`.

    Raises:
        OutputSpaceError: the disk is full; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final, temporary = folder / f"{step:010d}", folder / f".{step:010d}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        parts = write_parts(temporary, tensors)
        content = json.dumps({"step": step, "parts": parts, "state": state}, indent=1)
        _write(temporary / STATE, content.encode())
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if error.errno == 28:
            raise OutputSpaceError(f"{folder}: the disk is full; free some space and resume") from error
        raise
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    for old in _folders(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load_latest(folder: Path, *, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint of `folder` that is whole; None where there is none."""
    for path in reversed(_folders(folder)):
        try:
            return load_checkpoint(path)
        except CorruptDatasetError as error:
            warn(f"{error}; using the checkpoint before it")
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """One checkpoint folder.

    Raises:
        CorruptDatasetError: something is missing, or differs from its hash.
    """
    try:
        content = json.loads((path / STATE).read_text(encoding="utf-8"))
        tensors = read_parts(path, content["parts"])
    except (OSError, KeyError, ValueError) as error:
        raise CorruptDatasetError(f"{path}: not a whole checkpoint ({error})") from error
    return Checkpoint(content["step"], tensors, content["state"])


def write_parts(folder: Path, tensors: Mapping[str, Tensor], *, stem: str = "part") -> dict[str, str]:
    """Write tensors as `<stem>-NN.safetensors` of at most 16 MiB each; returns file name to SHA-256."""
    from safetensors.torch import save

    hashes = {}
    for number, group in enumerate(_grouped(tensors)):
        name = f"{stem}-{number:02d}.safetensors"
        data = save(group)
        _write(folder / name, data)
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


def optimiser_tensors(
    prefix: str, optimiser: torch.optim.Optimizer, precision: Precision = "full"
) -> dict[str, Tensor]:
    """An optimiser's moments and step counts; `half` stores moments as bfloat16, whose range holds Adam's tiny squares."""
    tensors = {}
    for number, entry in optimiser.state_dict()["state"].items():
        for name, value in entry.items():
            kept = value.to(torch.bfloat16) if precision == "half" and name != "step" else value
            tensors[f"{prefix}.{number}.{name}"] = kept.detach().cpu().contiguous()
    return tensors


def load_optimiser(prefix: str, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> bool:
    """Fill an optimiser from `optimiser_tensors`; False where the checkpoint holds none."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix + "."):
            number, field = name.removeprefix(prefix + ".").split(".")
            state.setdefault(int(number), {})[field] = value.float()
    if state:
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return bool(state)


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


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
