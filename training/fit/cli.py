"""`python -m training fit PREPARED OUT` and `python -m training correspond`"""

from __future__ import annotations

import json
from pathlib import Path

import click

from training.recipe import load_recipe

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.argument("prepared", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@click.option("--recipe", type=_FILE, help="A recipe with a section `fit`.")
@click.option("--morphable", type=_FOLDER, help="The morphable model; the bundled one without it.")
@click.option("--correspondence", type=_FILE, help="The landmarks on that model, by `correspond`.")
def fit(prepared: Path, out: Path, recipe: Path | None, morphable: Path | None, correspondence: Path | None) -> None:
    """Find λ of every photo in PREPARED, and the albedo they share; into OUT.

    Writes lambda.parquet (with the crop of each photo), morphable/ (the model with the photos' albedo), metrics.json and
    pictures. Run it again to go on where it stopped.
    """
    from training.fit import stage

    settings = stage.FitRecipe() if recipe is None else load_recipe(recipe, "fit", stage.FitRecipe)
    figures = stage.fit(prepared, out, settings, morphable=morphable, correspondence=correspondence, report=_say)
    click.echo(json.dumps(figures, indent=2))


@click.command()
@click.option("--out", type=_FILE, required=True, help="The npz to write.")
@click.option("--morphable", type=_FOLDER, help="The morphable model; the bundled one without it.")
@click.option("--num-heads", default=200, show_default=True, help="Random heads to render.")
@click.option("--seed", default=0, show_default=True)
def correspond(out: Path, morphable: Path | None, num_heads: int, seed: int) -> None:
    """Find the face mesh's 468 landmarks on a morphable model, by detecting them on renderings."""
    from synthface.morphable.basis import MorphableBasis
    from training.fit.correspondence import correspond as find
    from training.photos.detector import load_detector

    detector = load_detector("facemesh")

    def detect(pixels):  # type: ignore[no-untyped-def]
        faces = detector.find(pixels)
        return faces[0].landmarks if faces else None

    find(MorphableBasis.load(morphable), detect, num_heads=num_heads, seed=seed).save(out)
    click.echo(str(out))
