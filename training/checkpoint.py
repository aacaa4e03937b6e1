"""Checkpoints: tensors in safetensors parts, written whole or not at all, and checked when read.

A checkpoint is a folder `<number of images>/` with `part-NN.safetensors` and `state.json`, which names the parts with their
hashes and is written last. The folder appears by a rename. A damaged checkpoint is noticed and the one before it is
used.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthface.errors import CorruptDatasetError, OutputSpaceError
from synthface.networks.parts import Precision, load_module, module_tensors, read_parts, write_parts, write_synced

STATE = "state.json"

__all__ = [
    "Checkpoint",
    "Precision",
    "load_checkpoint",
    "load_latest",
    "load_module",
    "load_optimiser",
    "module_tensors",
    "optimiser_tensors",
    "save_checkpoint",
]


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
        write_synced(temporary / STATE, content.encode())
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


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []
