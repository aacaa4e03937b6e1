"""From a run to a bundle: the averaged generator, its centres of truncation, trusted ranges, card and self-test."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthface.errors import GeneratorError
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.networks import decoders
from synthface.networks.bundle import BundleConfig, load_bundle, save_bundle
from synthface.networks.generator import GeneratorNetwork
from synthface.networks.mapping import LambdaSizes
from synthface.networks.truncation import mean_w
from training import checkpoint
from training.gan import loop
from training.gan.data import GanData, load_data
from training.gan.recipe import GanRecipe
from training.recipe import load_recipe

#: Draws for the centres of truncation, as in the reference code.
NUM_CENTRE_DRAWS = 50_000
TILE_SIZE = 8
#: Share of the training λ that a trusted range leaves out at each end.
_TAIL = 0.01


def export_run(run: Path, data_folder: Path, out: Path, *, name: str, take_last: bool = False) -> BundleConfig:
    """Write a bundle from a run's best checkpoint (or its last) and load it once to see that it works.

    Raises:
        GeneratorError: the run has no checkpoint.
    """
    recipe = load_recipe(run / loop.RESOLVED, "gan", GanRecipe)
    data = load_data(data_folder, recipe)
    found = None if take_last else checkpoint.load_latest(run / loop.BEST, warn=print)
    found = found or checkpoint.load_latest(run / loop.CHECKPOINTS, warn=print)
    if found is None:
        raise GeneratorError(f"{run}: no whole checkpoint there; train first")
    shapes = {group: vae.config for group, vae in data.vaes.items()}
    network = GeneratorNetwork(recipe.network.generator(data.sizes, shapes)).eval().requires_grad_(False)
    checkpoint.load_module("average", network, {key: value.float() for key, value in found.tensors.items()})
    set_centres(network, data, num=NUM_CENTRE_DRAWS)
    config = _config(name, network, data, recipe, found.state)
    out.mkdir(parents=True, exist_ok=True)
    if config.priors:
        for file in (decoders.WEIGHTS, decoders.CONFIG):
            shutil.copyfile(data_folder / "priors" / file, out / file)
    generator = torch.Generator().manual_seed(0)
    vector = data.random_vectors(config.tile_size, generator=generator)
    noise = torch.randn(config.tile_size, recipe.network.num_noise, generator=generator)
    written = save_bundle(out, network, config, vector=vector, noise=noise, card=model_card(config))
    load_bundle(out)
    return written


def set_centres(network: GeneratorNetwork, data: GanData, *, num: int, seed: int = 0) -> None:
    """Fill `w_mean` = E[w] and `w_alpha` = E_α[w(α, u_j = 0)], ε = 0 in the latter."""
    generator = torch.Generator().manual_seed(seed)
    vector = data.random_vectors(num, generator=generator)
    num_factors = vector.shape[1]
    inputs = torch.cat([vector, torch.randn(num, network.config.num_noise, generator=generator)], dim=1)
    neutral = torch.cat([network.neutralised(vector), torch.zeros(num, network.config.num_noise)], dim=1)

    def w_of(rows: Tensor) -> Tensor:
        return network.w(rows[:, :num_factors], rows[:, num_factors:])

    network.w_mean.copy_(mean_w(w_of, inputs))
    network.w_alpha.copy_(mean_w(w_of, neutral))


def trusted_ranges(
    vector: Tensor, sizes: LambdaSizes, expression_names: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """The range of each angle (degrees) and action within which 98 % of the training λ (M, total) lie."""
    low, high = (torch.quantile(vector[:200_000], q, dim=0) for q in (_TAIL, 1 - _TAIL))
    pose, actions = sizes.parts["pose_rad"].start, sizes.parts["expression"].start
    ranges = {
        f"pose.{angle}": (round(math.degrees(low[pose + k]), 1), round(math.degrees(high[pose + k]), 1))
        for k, angle in enumerate(("pitch", "yaw", "roll"))
    }
    for k, name in enumerate(expression_names):
        ranges[f"expression.{name}"] = (0.0, round(max(0.0, float(high[actions + k])), 3))
    return ranges


def _config(
    name: str, network: GeneratorNetwork, data: GanData, recipe: GanRecipe, state: Mapping[str, Any]
) -> BundleConfig:
    basis = MorphableBasis.load()
    if data.pack.morphable_model not in ("", basis.name):
        raise GeneratorError(
            f"the data's λ belong to morphable model {data.pack.morphable_model!r}, the bundled one is {basis.name!r}"
        )
    prior_file = data.folder / "priors" / decoders.CONFIG
    priors = tuple(json.loads(prior_file.read_text())["factors"]) if prior_file.exists() else ()
    progress = state["progress"]
    training = {
        "data": data.pack.card,
        "num_photos": data.pack.num_photos,
        "num_pictures": len(data.pack),
        "num_images_seen": progress["num_images"],
        "stages": [stage.name for stage in recipe.stages if progress["num_images"] > _start(recipe, stage.name)],
        "has_warm_start": recipe.stages[0].reconstruction is not None,
        "loss_networks": loss_networks(data.folder, recipe),
        "seed": recipe.seed,
    }
    return BundleConfig(
        name=name,
        architecture=network.config.to_dict(),
        expression_names=data.pack.expression_names,
        morphable_model={"name": basis.name, "sha256": basis.digest},
        camera={"focal_per_pixel": camera.FOCAL_PER_PIXEL, "distance_dm": camera.DISTANCE_DM},
        tile_size=TILE_SIZE,
        trusted_ranges=trusted_ranges(data.vectors(), data.sizes, data.pack.expression_names),
        training=training,
        metrics={key: float(value) for key, value in state["figures"].items()},
        priors=priors,
    )


def loss_networks(folder: Path, recipe: GanRecipe) -> dict[str, dict[str, Any]]:
    """Role to entry of the networks that some loss of the recipe looks through: figures by them are worth less.

    Raises:
        GeneratorError: the data folder no longer says which they were.
    """
    found = {}
    for role in recipe.needs():
        path = folder / "networks" / f"{role}.json"
        try:
            found[role] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise GeneratorError(f"{path}: can't be read ({error}); export with the data folder of the run") from error
    return found


def _start(recipe: GanRecipe, stage_name: str) -> int:
    """Images seen when a stage begins."""
    names = [stage.name for stage in recipe.stages]
    number = names.index(stage_name)
    return recipe.stages[number - 1].until_images if number else 0


def model_card(config: BundleConfig) -> str:
    """The bundle's README."""
    training = config.training
    metrics = "\n".join(f"| {name} | {value:.4g} |" for name, value in config.metrics.items()) or "| none measured | |"
    ranges = "\n".join(
        f"| `{path}` | {low:g} … {high:g} |" for path, (low, high) in config.trusted_ranges.items() if high > 0.05
    )
    terms = ", ".join(f"{key}: {value}" for key, value in training["data"].items())
    num_pictures = training.get("num_pictures", training["num_photos"])
    copies = f", {num_pictures} pictures with their turned, relit and mirrored copies"
    copies = copies if num_pictures != training["num_photos"] else ""
    warm = (
        "G was first fitted to the photos by reconstruction, then trained adversarially. " * training["has_warm_start"]
    )
    return f"""# {config.name}

A generator of {config.size_px} × {config.size_px} px faces, controlled by the factors of morphable model
`{config.morphable_model["name"]}`. Method: Deng et al., *Disentangled and Controllable Face Image Generation via 3D
Imitative-Contrastive Learning*, CVPR 2020.

## Training data and terms

{training["num_photos"]} photos{copies}. {terms}. {warm}Stages
trained: {", ".join(training["stages"])}; {training["num_images_seen"]} real images seen.

## Figures at export

| metric | value |
|---|---|
{metrics}

`fd` is a Fréchet distance on the features in brackets; it is not the FID of papers.

## Ranges it was trained for

Outside them a spec warns; the pictures there are extrapolations.

| factor | range (angles in degrees) |
|---|---|
{ranges}

Faces are of nobody: but a generator can draw faces like those it learned from, and its training data decides whom it
draws well.
"""
