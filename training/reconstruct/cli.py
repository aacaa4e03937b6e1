"""`python -m training reconstruct …` and `python -m training extract PREPARED OUT`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.recipe import load_recipe, save_resolved

if TYPE_CHECKING:
    from training.reconstruct.batches import World
    from training.reconstruct.recipe import ReconstructRecipe

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_ROLE = click.Choice(["reconstruction", "judge"])
_BANK = click.option("--bank", type=_FOLDER, required=True, help="What `reconstruct bank` wrote.")
_PHOTOS = click.option("--photos", type=_FOLDER, help="What `prepare` wrote; without it renderings alone.")
_TABLE = click.option("--table", type=_FILE, help="The λ table of the photos, as `fit` wrote it.")
_RECIPE = click.option("--recipe", type=_FILE, help="A recipe with a section `reconstruct`.")
_MORPHABLE = click.option("--morphable", type=_FOLDER, help="The morphable model; the bundled one without it.")


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.group()
def reconstruct() -> None:
    """Train the networks that read λ off a picture: one for the losses, one that only judges."""


@reconstruct.command("bank")
@click.argument("out", type=_FOLDER)
@_TABLE
@_RECIPE
@_MORPHABLE
def bank_command(out: Path, table: Path | None, recipe: Path | None, morphable: Path | None) -> None:
    """Render heads at many poses into OUT; run it again to go on."""
    from synthface.morphable.basis import MorphableBasis
    from training.lambda_table import read_table
    from training.reconstruct.bank import build_bank

    rows = None if table is None else read_table(table)
    build_bank(out, MorphableBasis.load(morphable), rows, _recipe(recipe).bank, report=_say)


@reconstruct.command("train")
@click.argument("role", type=_ROLE)
@click.argument("out", type=_FOLDER)
@_BANK
@_PHOTOS
@_TABLE
@_RECIPE
@_MORPHABLE
@click.option("--max-minutes", type=float, help="Stop after so many minutes, with a checkpoint.")
@click.option("--start-from", type=_FOLDER, help="Begin with the weights of this run, as far as they fit.")
@click.option("--start-morphable", type=_FOLDER, help="The morphable model of that run, where it isn't this one's.")
def train_command(
    role: str,
    out: Path,
    bank: Path,
    photos: Path | None,
    table: Path | None,
    recipe: Path | None,
    morphable: Path | None,
    max_minutes: float | None,
    start_from: Path | None,
    start_morphable: Path | None,
) -> None:
    """Train the network for ROLE in OUT, from its last checkpoint on."""
    from synthface.morphable.basis import MorphableBasis
    from synthface.networks.recognition import load_recognition
    from training.reconstruct import runs
    from training.reconstruct.train import CHECKPOINTS, Clock, Trainer, look_first, new_network, train

    settings = _recipe(recipe)
    world = _world(bank, photos, table, morphable, settings.network(role).backbone.size_px)
    network = new_network(world, settings.network(role), role)
    if start_from is not None and not (out / CHECKPOINTS).is_dir():
        bases = None if start_morphable is None else (MorphableBasis.load(start_morphable), world.basis)
        runs.warm_start(network, start_from, bases)
    runs.describe_run(out, network)
    save_resolved(out / "recipe.resolved.json", "reconstruct", settings)
    recogniser = load_recognition() if world.photos is not None and settings.network(role).weights.identity else None
    seen = look_first(network, world, settings.network(role), out, report=_say)
    trainer = Trainer(world, settings.network(role), network, recogniser, seen)
    click.echo(json.dumps(train(trainer, out, clock=Clock(max_minutes), report=_say)))


@reconstruct.command("measure")
@click.argument("run", type=_FOLDER)
@_BANK
@_PHOTOS
@_TABLE
@_MORPHABLE
@click.option("--num", default=1000, show_default=True, help="Held-out pictures of each kind, at most.")
@click.option("--num-likeness", default=200, show_default=True, help="Photos compared with their re-renderings.")
def measure_command(
    run: Path, bank: Path, photos: Path | None, table: Path | None, morphable: Path | None, num: int, num_likeness: int
) -> None:
    """Measure RUN's best network on held-out pictures: metrics.json, and of photos sheet.jpg."""
    from training.reconstruct.report import measure_run

    config = json.loads((run / "network.json").read_text(encoding="utf-8"))
    world = _world(bank, photos, table, morphable, config["settings"]["size_px"])
    click.echo(json.dumps(measure_run(run, world, num=num, num_likeness=num_likeness, report=_say), indent=2))


@reconstruct.command("export")
@click.argument("run", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@click.option("--name", type=_ROLE, default="reconstruction", show_default=True)
@click.option("--source", required=True, help="Where the photos come from.")
@click.option("--licence", required=True, help="On what terms the network may be used.")
@_MORPHABLE
def export_command(run: Path, out: Path, name: str, source: str, licence: str, morphable: Path | None) -> None:
    """Write RUN's best network to OUT: what `load_reconstruction` reads, with a card."""
    from synthface.morphable.basis import MorphableBasis
    from training.reconstruct.runs import export_run

    card = {"source": source, "licence": licence}
    network = export_run(run, out, MorphableBasis.load(morphable), name=name, card=card)
    click.echo(f"{out}: {sum(p.numel() for p in network.parameters())} weights")


@click.command()
@click.argument("prepared", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@click.option("--network", default="reconstruction", show_default=True, help="One that ships, or a folder.")
@click.option("--recipe", type=_FILE, help="A recipe with a section `extract`.")
@_MORPHABLE
def extract(prepared: Path, out: Path, network: str, recipe: Path | None, morphable: Path | None) -> None:
    """Read λ off every photo of PREPARED (what `prepare` wrote) into OUT/lambda.parquet; run it again to go on."""
    from synthface.morphable.basis import MorphableBasis
    from synthface.networks.reconstruction import load_reconstruction
    from training.reconstruct.extract import ExtractRecipe
    from training.reconstruct.extract import extract as run

    settings = ExtractRecipe() if recipe is None else load_recipe(recipe, "extract", ExtractRecipe)
    out.mkdir(parents=True, exist_ok=True)
    save_resolved(out / "recipe.resolved.json", "extract", settings)
    figures = run(prepared, out, load_reconstruction(network), MorphableBasis.load(morphable), settings, report=_say)
    click.echo(json.dumps(figures, indent=2))


def _recipe(path: Path | None) -> ReconstructRecipe:
    from training.reconstruct.recipe import ReconstructRecipe

    return ReconstructRecipe() if path is None else load_recipe(path, "reconstruct", ReconstructRecipe)


def _world(bank: Path, photos: Path | None, table: Path | None, morphable: Path | None, size_px: int) -> World:
    from synthface.errors import DatasetError
    from synthface.morphable.basis import MorphableBasis
    from training.lambda_table import read_table
    from training.reconstruct.bank import Bank
    from training.reconstruct.batches import World
    from training.reconstruct.losses import detector_points
    from training.reconstruct.photos import load_photos

    if photos is not None and table is None:
        raise DatasetError("--photos without --table: the photos' λ is needed too; name the table that `fit` wrote")
    basis = MorphableBasis.load(morphable)
    surfaces = Bank(bank, basis)
    if photos is None or table is None:
        return World(basis, surfaces, None, None if table is None else read_table(table), size_px)
    loaded, fitted = load_photos(photos, table, surfaces.size_px, _say, cache=bank)
    detector = detector_points(basis, loaded.landmarks.shape[1], table.with_name("calibration.npz"))
    return World(basis, surfaces, loaded, fitted, size_px, detector)
