"""A run's folder: what network it trains, its best state, and the way from there to a folder that ships.

network.json           the network's description
recipe.resolved.json   the recipe with every default filled in
checkpoints/, best/    the last states, and the best by the held-out error
log.jsonl              a line per thousand pictures
metrics.json           what `measure` found
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from synthface.errors import DatasetError
from synthface.morphable.basis import MorphableBasis
from synthface.networks.backbones import fold
from synthface.networks.reconstruction import (
    Reconstruction,
    ReconstructionConfig,
    new_reconstruction,
    save_reconstruction,
)
from training.checkpoint import Checkpoint, load_latest, load_module
from training.reconstruct.train import BEST, CHECKPOINTS

NETWORK, METRICS = "network.json", "metrics.json"


def describe_run(folder: Path, network: Reconstruction) -> None:
    """Write what network a run trains."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(vars(network.config), indent=2, ensure_ascii=False)
    (folder / NETWORK).write_text(text + "\n", encoding="utf-8")


def load_run(folder: Path, basis: MorphableBasis, *, last: bool = False) -> Reconstruction:
    """A run's network in its best state, or its last, normalisation folded in, in eval mode.

    Raises:
        DatasetError: it isn't a run with a checkpoint, or it belongs to another morphable model.
    """
    config = _config(folder)
    if config.morphable_model_sha256 != basis.digest:
        raise DatasetError(
            f"{folder}: its network reads λ of morphable model {config.morphable_model_sha256[:12]}…, given: "
            f"{basis.digest[:12]}…; name that model, or train on with this one"
        )
    network = new_reconstruction(config, basis)
    load_module("network", network, _state(folder, last).tensors)
    fold(network)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def warm_start(network: Reconstruction, folder: Path) -> None:
    """Take over another run's last state, as far as it fits: λ's parts of another length begin anew, and so does the skin
    where it is of another morphable model.

    What the numbers mean (`mean`, `scale`) stays this network's own; the head's rows are brought to it.
    """
    config, tensors = _config(folder), dict(_state(folder, last=True).tensors)
    old = {name.removeprefix("network."): value.float() for name, value in tensors.items()}
    weight, bias = network.head.weight.detach().clone(), network.head.bias.detach().clone()
    parts = config.sizes.parts
    for name, place in network.sizes.parts.items():
        before = parts[name]
        is_alike = name != "albedo" or config.morphable_model_sha256 == network.config.morphable_model_sha256
        if is_alike and place.stop - place.start == before.stop - before.start:
            ratio = old["scale"][before] / network.scale[place]
            weight[place] = old["head.weight"][before] * ratio[:, None]
            moved = (old["mean"][before] - network.mean[place]) / network.scale[place]
            bias[place] = old["head.bias"][before] * ratio + moved
    weight[-3:], bias[-3:] = old["head.weight"][-3:], old["head.bias"][-3:]
    own = network.state_dict()
    backbone = {name: value for name, value in old.items() if name.startswith("backbone.")}
    network.load_state_dict({**own, **backbone, "head.weight": weight, "head.bias": bias})


def export_run(folder: Path, out: Path, basis: MorphableBasis, *, name: str, card: Mapping[str, Any]) -> Reconstruction:
    """Write a run's best network to a folder that ships, with its figures; returns it."""
    network = load_run(folder, basis)
    metrics = json.loads((folder / METRICS).read_text(encoding="utf-8")) if (folder / METRICS).is_file() else {}
    network.config = dataclasses.replace(network.config, name=name, card={**card, "measured": metrics})
    save_reconstruction(out, network)
    return network


def _config(folder: Path) -> ReconstructionConfig:
    try:
        data = json.loads((folder / NETWORK).read_text(encoding="utf-8"))
        return ReconstructionConfig(**{**data, "expression_names": tuple(data["expression_names"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetError(
            f"{folder}: no run there ({error}); `python -m training reconstruct train` makes one"
        ) from error


def _state(folder: Path, last: bool) -> Checkpoint:
    found = load_latest(folder / (CHECKPOINTS if last else BEST), warn=lambda line: None)
    if found is None:
        raise DatasetError(f"{folder}: no checkpoint there yet; train for longer")
    return found
