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

import numpy as np
import torch
from torch import Tensor

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


def warm_start(
    network: Reconstruction, folder: Path, bases: tuple[MorphableBasis, MorphableBasis] | None = None
) -> None:
    """Take over another run's last state, as far as it fits.

    What the numbers mean (`mean`, `scale`) stays this network's own; the head's rows are brought to it. λ's parts of another
    length begin anew, and so does the skin where it is of another morphable model, unless both are given.

    Args:
        network: to be filled.
        folder: of the other run.
        bases: the other run's morphable model, and this network's: albedo is expressed in the one by the other.
    """
    config, tensors = _config(folder), dict(_state(folder, last=True).tensors)
    old = {name.removeprefix("network."): value.float() for name, value in tensors.items()}
    head = {name: value.detach().clone() for name, value in network.head.named_parameters()}
    for name, place in network.sizes.parts.items():
        before = config.sizes.parts[name]
        # Of λ itself: rows and constants.
        rows = old["scale"][before, None] * old["head.weight"][before]
        constant = old["mean"][before] + old["scale"][before] * old["head.bias"][before]
        if name == "albedo" and config.morphable_model_sha256 != network.config.morphable_model_sha256:
            if bases is None:
                continue
            turn, shift = albedo_between(*bases)
            rows, constant = turn @ rows, turn @ constant + shift
        if len(rows) == place.stop - place.start:
            head["weight"][place] = rows / network.scale[place, None]
            head["bias"][place] = (constant - network.mean[place]) / network.scale[place]
    for name, values in head.items():
        values[-3:] = old[f"head.{name}"][-3:]
    backbone = {name: value for name, value in old.items() if name.startswith("backbone.")}
    own = {f"head.{name}": value for name, value in head.items()}
    network.load_state_dict({**network.state_dict(), **backbone, **own})


def albedo_between(before: MorphableBasis, after: MorphableBasis) -> tuple[Tensor, Tensor]:
    """(Kt', Kt) and (Kt',): the albedo coefficients of one model as another's, nearest over the face; of one mesh."""
    face = after.face_vertices
    components, others = (b.albedo_basis[:, face].reshape(b.num_albedo, -1).astype(np.float64) for b in (before, after))
    apart = (before.mean_albedo[face] - after.mean_albedo[face]).reshape(-1).astype(np.float64)
    gram = others @ others.T
    # Components that hardly show on the face (the colour of the eyes, say) stay where they are.
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    turn, shift = np.linalg.solve(gram, others @ components.T), np.linalg.solve(gram, others @ apart)
    return torch.from_numpy(turn).float(), torch.from_numpy(shift).float()


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
