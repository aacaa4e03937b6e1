"""`python -m recipes.recognition train|evaluate|study`"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from synthface.errors import DatasetError, SynthfaceError

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_DEVICE = click.option("--device", help="`cpu`, `cuda`; the GPU where there is one.")


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.group()
def main() -> None:
    """Train a face recognition network straight from the shards, and measure it on verification pairs."""


@main.command()
@click.argument("settings", type=_FILE)
@click.option("--data", required=True, help="The dataset: a folder or URL that `synthface render` wrote.")
@click.option("--out", type=_FOLDER, required=True)
@_DEVICE
@click.option("--max-minutes", type=float, help="Stop after so many minutes, with a checkpoint.")
def train(settings: Path, data: str, out: Path, device: str | None, max_minutes: float | None) -> None:
    """Train by SETTINGS in OUT; run it again to go on. Several GPUs: `torchrun --nproc_per_node=N -m recipes.recognition`."""
    from recipes.recognition.training import RecognitionSettings, train_recognition
    from training.recipe import load_recipe

    chosen = load_recipe(settings, "recognition", RecognitionSettings)
    done = train_recognition(chosen, data, out, device=device, max_minutes=max_minutes, report=_say)
    click.echo(str(out / "network") if done is not None else f"{out}: not finished; run the command again to go on")


@main.command()
@click.argument("network", type=_FOLDER)
@click.option("--data", multiple=True, help="A dataset with pair lists; DATASET or DATASET:LIST. May be repeated.")
@click.option("--lfw", type=(_FOLDER, _FILE), multiple=True, help="A folder in LFW's layout, and its pairs.txt.")
@click.option("--bin", "bins", type=_FILE, multiple=True, help="A .bin file in InsightFace's layout.")
@click.option("--out", type=_FOLDER, required=True)
@_DEVICE
def evaluate(
    network: Path,
    data: tuple[str, ...],
    lfw: tuple[tuple[Path, Path], ...],
    bins: tuple[Path, ...],
    out: Path,
    device: str | None,
) -> None:
    """Measure NETWORK on pair sets; OUT gets verification.json and verification.html."""
    from recipes.recognition import evaluation
    from recipes.recognition.networks import load_network
    from recipes.recognition.pairs import from_bin, from_dataset, from_lfw, pair_lists

    sets = []
    for given in data:
        dataset, colon, name = given.rpartition(":")
        is_list = bool(colon) and "/" not in name
        dataset, names = (dataset, [name]) if is_list else (given, pair_lists(given))
        sets += [from_dataset(dataset, name) for name in names]
    sets += [from_lfw(*pair) for pair in lfw] + [from_bin(path) for path in bins]
    if not sets:
        raise DatasetError("no pairs to measure on; give --data with a dataset that has pair lists, --lfw or --bin")
    result = evaluation.evaluate(load_network(network), sets, device=device, report=_say)
    evaluation.write_report(out, result, title=f"Verification: {network.parent.name or network.name}")
    click.echo(str(out / evaluation.HTML))


@main.command()
@click.option("--out", type=_FOLDER, required=True, help="For the datasets and the networks; run it again to go on.")
@click.option("--tiny", is_flag=True, help="A rehearsal in seconds; writes no README.")
@click.option("--workers", type=int, default=2, show_default=True, help="Processes that render.")
@_DEVICE
def study(out: Path, tiny: bool, workers: int, device: str | None) -> None:
    """Train the same network on three datasets and measure where each fails; table and plots go into the README."""
    from recipes.recognition.study import run

    click.echo(run(out, tiny=tiny, workers=workers, device=device, report=_say))


if __name__ == "__main__":
    try:
        main(prog_name="python -m recipes.recognition")
    except SynthfaceError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
