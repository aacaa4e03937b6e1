"""`python -m recipes.landmarks train|evaluate`"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from synthface.errors import SynthfaceError

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_DATA = click.option("--data", required=True, help="The dataset: a folder or URL that `synthface render` wrote.")
_DEVICE = click.option("--device", help="`cpu`, `cuda`; the GPU where there is one.")


@click.group()
def main() -> None:
    """Learn 68 landmarks and the head's pose from exact labels."""


@main.command()
@click.argument("settings", type=_FILE)
@_DATA
@click.option("--out", type=_FOLDER, required=True)
@_DEVICE
@click.option("--max-minutes", type=float, help="Stop after so many minutes, with a checkpoint.")
def train(settings: Path, data: str, out: Path, device: str | None, max_minutes: float | None) -> None:
    """Train by SETTINGS in OUT; run it again to go on. Several GPUs: `torchrun --nproc_per_node=N -m recipes.landmarks`."""
    from recipes.landmarks.training import LandmarkSettings, train_landmarks
    from training.recipe import load_recipe

    chosen = load_recipe(settings, "landmarks", LandmarkSettings)
    done = train_landmarks(
        chosen, data, out, device=device, max_minutes=max_minutes, report=lambda line: click.echo(line, err=True)
    )
    click.echo(str(out / "network") if done is not None else f"{out}: not finished; run the command again to go on")


@main.command()
@click.argument("network", type=_FOLDER)
@_DATA
@click.option("--split", default="test", show_default=True)
@_DEVICE
def evaluate(network: Path, data: str, split: str, device: str | None) -> None:
    """Measure NETWORK on a split; figures as JSON."""
    from recipes.landmarks.measure import measure
    from recipes.landmarks.network import load_network

    click.echo(json.dumps(measure(load_network(network), data, split, device=device), indent=1))


if __name__ == "__main__":
    try:
        main(prog_name="python -m recipes.landmarks")
    except SynthfaceError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
