"""`python -m training parser labels`, `… train`, `… relight`"""

from __future__ import annotations

import json
from pathlib import Path

import click

from training.recipe import load_recipe

_FOLDER = click.Path(path_type=Path, file_okay=False)
_RECIPE = click.option(
    "--recipe", type=click.Path(path_type=Path, dir_okay=False), help="A recipe with a section `parser`."
)


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.group()
def parser() -> None:
    """The face parser: pseudo-labels of photos, and the network that learns them."""


@parser.command("labels")
@click.argument("prepared", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@_RECIPE
def labels_command(prepared: Path, out: Path, recipe: Path | None) -> None:
    """Label the photos in PREPARED, as far as it is clear what is what, into OUT. Look at OUT/sheet.jpg.

    Run it again to go on where it stopped.
    """
    from training.parser.labels import write_labels
    from training.parser.train import ParserRecipe

    settings = ParserRecipe() if recipe is None else load_recipe(recipe, "parser", ParserRecipe)
    click.echo(json.dumps(write_labels(prepared, out, settings.labels, report=_say), indent=2))


@parser.command("train")
@click.argument("labels", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@_RECIPE
@click.option("--max-minutes", type=float, help="Stop after so long, with a checkpoint; run it again to go on.")
def train_command(labels: Path, out: Path, recipe: Path | None, max_minutes: float | None) -> None:
    """Train the network on LABELS; checkpoints, figures, sheet and OUT/network, which ships.

    Run it again to go on where it stopped.
    """
    from training.parser.train import ParserRecipe, train

    settings = ParserRecipe() if recipe is None else load_recipe(recipe, "parser", ParserRecipe)
    figures = train(labels, out, settings, max_minutes=max_minutes, report=_say)
    click.echo(json.dumps(figures, indent=2))


@parser.command("relight")
@click.argument("network", type=click.Path())
@click.argument("prepared", type=_FOLDER)
@click.argument("table", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--labels", type=_FOLDER, help="Labels that the network was trained on: their photos are left out.")
@click.option("--morphable", type=_FOLDER, help="The model that TABLE belongs to; the bundled one without it.")
@click.option("--num-photos", default=200, show_default=True)
def relight_command(
    network: str, prepared: Path, table: Path, labels: Path | None, morphable: Path | None, num_photos: int
) -> None:
    """How much NETWORK's hair changes when photos in PREPARED are relit by the shading of their heads, λ in TABLE.

    NETWORK is a folder, or the name of a parser that ships.
    """
    from synthface.networks.parser import load_parser
    from training.parser.labels import Labels
    from training.parser.relight import measure_relit

    seen = Labels(labels).keys if labels else ()
    figures = measure_relit(
        load_parser(network), prepared, table, morphable=morphable, leave_out=seen, num_photos=num_photos
    )
    click.echo(json.dumps(figures, indent=2))
