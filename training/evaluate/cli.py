"""`python -m training evaluate BUNDLE --real PHOTOS --out OUT`"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from training.evaluate.recipe import NAMES, QUICK, EvaluateRecipe
from training.recipe import load_recipe

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.argument("bundle")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the report.")
@click.option("--real", type=_FOLDER, help="Photos: what `prepare` wrote.")
@click.option("--lambda", "table", type=_FILE, help="λ table: where factors come from, and how photos are cropped.")
@click.option("--networks", type=_FOLDER, help="A data folder whose networks/*.json name other judges.")
@click.option("--inception", type=_FILE, help="TF-Inception as TorchScript, for FID proper.")
@click.option("--recipe", type=_FILE, help="A recipe with a section `evaluate`: how much is measured.")
@click.option("--quick", is_flag=True, help="Minutes on one core; to see what is broken, not to rank generators.")
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only this measurement; may be repeated.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda …")
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
def evaluate(
    bundle: str,
    out: Path,
    real: Path | None,
    table: Path | None,
    networks: Path | None,
    inception: Path | None,
    recipe: Path | None,
    quick: bool,
    only: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Measure the generator BUNDLE (a folder, or 3dmm): disentanglement, likeness to photos, control, identity.

    Writes OUT/evaluation.json and OUT/evaluation.html. Run it again to go on where it stopped. Without --recipe and --quick it
    is the paper's protocol, which takes hours on a CPU.
    """
    from synthface.cli import _progress
    from training.evaluate import run

    if quick and recipe is not None:
        raise click.UsageError("--quick and --recipe both say how much is measured; give one of them")
    settings = QUICK if quick else EvaluateRecipe()
    if recipe is not None:
        settings = load_recipe(recipe, "evaluate", EvaluateRecipe)
    inputs = run.Inputs(bundle, real, table, networks, inception)
    with _progress("looking at pictures") as on_progress:
        result = run.evaluate(
            inputs, out, settings, only=only, device=device, on_progress=on_progress,
            say=lambda line: click.echo(line, err=True),
        )  # fmt: skip
    click.echo(json.dumps(run.finite(result), ensure_ascii=False) if as_json else summary(result, out / run.HTML))


def summary(result: Mapping[str, Any], report: Path) -> str:
    """The main figures in words."""
    lines = []
    for name, found in result["measurements"].items():
        if "skipped" in found:
            lines.append(f"{name}: not measured: {found['skipped']}")
    ours = result["table_1"][-1]
    for key, value in ours.items():
        if isinstance(value, float):
            lines.append(f"{ours.get(f'{key}_is') or key}: {value:.4g}")
    return "\n".join([*lines, f"look at {report}"])
