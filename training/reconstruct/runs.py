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
#: The skin reader's last layer, in `SkinReader.correct`.
_LAST_OF_READER = 4


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
    """Take over another run's last state, as far as it fits: what its numbers mean (`mean`, `scale`) along with its weights.

    λ's parts of another length begin anew, and so does the skin where it is of another morphable model, unless both are given.

    Args:
        network: to be filled.
        folder: of the other run.
        bases: the other run's morphable model, and this network's: albedo is expressed in the one by the other.
    """
    config, tensors = _config(folder), dict(_state(folder, last=True).tensors)
    old = {name.removeprefix("network."): value.float() for name, value in tensors.items()}
    own = {name: value.detach().clone() for name, value in network.state_dict().items()}
    last = f"skin.correct.{_LAST_OF_READER}" if network.skin is not None and config.skin else None
    for name, place in network.sizes.parts.items():
        before = config.sizes.parts[name]
        change = None
        if name == "albedo" and config.morphable_model_sha256 != network.config.morphable_model_sha256:
            if bases is None:
                continue
            change = albedo_between(*bases)
        elif place.stop - place.start != before.stop - before.start:
            continue
        if change is None:
            own["mean"][place], own["scale"][place] = old["mean"][before], old["scale"][before]
        _take(own, old, ("head.weight", "head.bias"), (place, before), (place, before), change)
        if last is not None and name in ("albedo", "sh"):
            rows = tuple(_reader_rows(sizes.albedo, name) for sizes in (network.sizes, config.sizes))
            _take(own, old, (f"{last}.weight", f"{last}.bias"), rows, (place, before), change, is_correction=True)
    for name, value in old.items():
        is_reader = name.startswith("skin.correct.") and last is not None and not name.startswith(last)
        if (name.startswith("backbone.") or is_reader) and own[name].shape == value.shape:
            own[name] = value
    for name in ("head.weight", "head.bias"):
        own[name][-3:] = old[name][-3:]
    network.load_state_dict(own)


def _reader_rows(num_albedo: int, name: str) -> slice:
    """Where the skin reader has its numbers of `albedo` or `sh`."""
    return slice(0, num_albedo) if name == "albedo" else slice(num_albedo, num_albedo + 27)


def _take(
    own: dict[str, Tensor],
    old: Mapping[str, Tensor],
    names: tuple[str, str],
    rows: tuple[slice, ...],
    places: tuple[slice, slice],
    change: tuple[Tensor, Tensor] | None,
    *,
    is_correction: bool = False,
) -> None:
    """Rows of a last layer, its weight and bias, into `own`; through a linear change of λ where there's one.

    Args:
        own, old: tensors by name.
        names: of weight and bias.
        rows: of the layer, own and old.
        places: of λ, own and old.
        change: matrix and constant from old to own λ.
        is_correction: the rows' numbers are added to others', which bring the constants of λ.
    """
    weight, bias = (old[name][rows[1]] for name in names)
    if change is not None:
        turn, shift = change
        scale, mean = old["scale"][places[1]], old["mean"][places[1]]
        own_scale, own_mean = own["scale"][places[0]], own["mean"][places[0]]
        weight = turn @ (scale[:, None] * weight) / own_scale[:, None]
        constant = 0.0 if is_correction else turn @ mean + shift - own_mean
        bias = (turn @ (scale * bias) + constant) / own_scale
    for name, value in zip(names, (weight, bias), strict=True):
        own[name][rows[0]] = value


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
