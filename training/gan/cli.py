"""`python -m training gan RECIPE --data DIR --out DIR`, and the stages around it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import click

from training.recipe import load_recipe, read_sections

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.argument("recipe", type=_FILE)
@click.option("--data", type=_FOLDER, required=True, help="Folder with pack.safetensors and bank.safetensors.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for checkpoints, logs and sheets.")
@click.option("--max-minutes", type=float, help="Stop after so many minutes, with a checkpoint.")
@click.option("--max-images", type=int, help="Stop at so many real pictures seen, with a checkpoint.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in OUT.")
@click.option("--device", help="cpu, cuda …; a GPU where there is one.")
def gan(
    recipe: Path,
    data: Path,
    out: Path,
    max_minutes: float | None,
    max_images: int | None,
    resume: bool,
    device: str | None,
) -> None:
    """Train G(λ, ε) as RECIPE (section `gan`) says."""
    from training.gan.loop import Limits, run
    from training.gan.recipe import GanRecipe

    limits = Limits(max_minutes, max_images)
    loaded = load_recipe(recipe, "gan", GanRecipe)
    finished = run(loaded, data, out, limits=limits, resume=resume, device=device, report=_say)
    click.echo(json.dumps(asdict(finished)))


@click.command()
@click.argument("run", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@click.option("--data", type=_FOLDER, required=True, help="The data folder that the run used.")
@click.option("--last", is_flag=True, help="Take the last checkpoint rather than the best.")
@click.option("--name", required=True, help="The generator's name.")
def export(run: Path, out: Path, data: Path, last: bool, name: str) -> None:
    """Make a bundle in OUT from a training RUN: weights, model card, priors, self-test."""
    from training.gan.export import export_run

    export_run(run, data, out, name=name, take_last=last)
    click.echo(str(out))


@click.command()
@click.argument("photos", type=_FOLDER)
@click.argument("table", type=_FILE)
@click.argument("out", type=_FOLDER)
@click.option("--size", "size_px", type=click.IntRange(16), help="H = W of the pictures; the recipe's without it.")
@click.option("--recipe", type=_FILE, help="A recipe with a section `pack`.")
@click.option("--morphable", type=_FOLDER, help="The morphable model; the bundled one without it.")
def pack(
    photos: Path, table: Path, out: Path, size_px: int | None, recipe: Path | None, morphable: Path | None
) -> None:
    """Cut the PHOTOS of a λ TABLE (columns `source` and `crop`), widen them, and pack them into OUT/pack.safetensors."""
    from synthface.morphable.basis import MorphableBasis
    from training.gan.pack_photos import PackRecipe, pack_photos

    settings = PackRecipe() if recipe is None else load_recipe(recipe, "pack", PackRecipe)
    settings = settings if size_px is None else replace(settings, size_px=size_px)
    num = pack_photos(photos, table, out, settings, basis=MorphableBasis.load(morphable), report=_say)
    click.echo(f"{num} pictures: {out / 'pack.safetensors'}")


@click.command()
@click.argument("table", type=_FILE)
@click.argument("out", type=_FILE)
@click.option("--recipe", type=_FILE, help="A recipe with a section `bank`.")
@click.option(
    "--descriptors", is_flag=True, help="Store f_id of every rendering, by networks/recognition.json beside OUT."
)
@click.option("--morphable", type=_FOLDER, help="The morphable model; the bundled one without it.")
def bank(table: Path, out: Path, recipe: Path | None, descriptors: bool, morphable: Path | None) -> None:
    """Prerender a bank from a λ TABLE into OUT (bank.safetensors)."""
    import torch

    from synthface.morphable.basis import MorphableBasis
    from synthface.morphable.model import MorphableModel
    from training.gan.bank import BankRecipe, build_bank
    from training.gan.frozen import load_frozen
    from training.lambda_table import read_table

    settings = BankRecipe() if recipe is None else load_recipe(recipe, "bank", BankRecipe)
    frozen = load_frozen(["recognition"] if descriptors else [], out.parent, torch.device("cpu"))
    rows = read_table(table)
    model = MorphableModel(MorphableBasis.load(morphable))
    build_bank(out, model, rows.vector, rows.sizes, settings, recogniser=frozen.recognition, report=_say)


@click.command()
@click.argument("out", type=_FOLDER)
@click.option("--recipe", type=_FILE, help="A recipe with a section `toy`.")
def toy(out: Path, recipe: Path | None) -> None:
    """Make a small world of renderings in OUT to rehearse the whole training on."""
    from training.gan.toy import ToyRecipe, build_world

    build_world(out, ToyRecipe() if recipe is None else load_recipe(recipe, "toy", ToyRecipe), _say)


@click.command()
@click.argument("recipe", type=_FILE)
def resolve(recipe: Path) -> None:
    """Print RECIPE as JSON, every section as it stands: for machines without a YAML reader."""
    click.echo(json.dumps(read_sections(recipe), indent=2))
