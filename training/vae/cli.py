"""`python -m training vae TABLE OUT --recipe RECIPE`"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch

from synthface.networks.mapping import GROUPS
from training.lambda_table import LambdaTable, read_table
from training.recipe import load_recipe, save_resolved
from training.vae.export import save_priors
from training.vae.measure import measure
from training.vae.sheet import draws_sheet
from training.vae.train import Report, VaeRecipe, split_rows, train_factor


@click.command()
@click.argument("table", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--recipe", type=click.Path(path_type=Path), help="A recipe with a section `vae`; without it the paper's."
)
def vae(table: Path, out: Path, recipe: Path | None) -> None:
    """Train the λ-VAEs on TABLE (λ of every photo) and write decoders, figures and pictures to OUT.

    Run it again to go on where it stopped.
    """
    settings = VaeRecipe() if recipe is None else load_recipe(recipe, "vae", VaeRecipe)
    figures = train_priors(read_table(table), settings, out, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(figures, indent=2))


def train_priors(table: LambdaTable, recipe: VaeRecipe, out: Path, report: Report) -> dict[str, object]:
    """All four λ-VAEs: train, measure, picture, export; returns the figures."""
    out.mkdir(parents=True, exist_ok=True)
    save_resolved(out / "recipe.resolved.json", "vae", recipe)
    sizes, vector = table.sizes, table.vector
    vaes, figures, curves = {}, {}, {}
    for number, group in enumerate(GROUPS):
        columns = sizes.columns(group)
        split = split_rows(vector, columns, recipe)
        config = recipe.config(group, sizes)
        vaes[group], curves[group] = train_factor(group, split, config, recipe, out / "checkpoints" / group, report)
        figures[group] = measure(
            vaes[group], split.train, split.held_out, num_draws=recipe.num_draws, seed=recipe.seed + number
        )
        with torch.no_grad():
            generator = torch.Generator().manual_seed(recipe.seed + number)
            z = torch.randn(len(vector), config.z_size, generator=generator)
            drawn = vaes[group].decode(z, residual=torch.randn(len(vector), config.size, generator=generator))
        sheet = draws_sheet(group, vector[:, columns], drawn, component_names(table, group))
        sheet.save(out / f"draws-{group}.png")
    (out / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (out / "curves.json").write_text(json.dumps(curves) + "\n", encoding="utf-8")
    save_priors(out / "priors", vaes, figures)
    return figures


def component_names(table: LambdaTable, group: str) -> list[str]:
    """What each number of a factor is called."""
    names = []
    for part in GROUPS[group]:
        if part == "expression":
            names += list(table.expression_names)
        elif part == "pose_rad":
            names += ["pitch (rad)", "yaw (rad)", "roll (rad)"]
        elif part == "sh":
            names += [f"sh {channel}{k}" for channel in "RGB" for k in range(9)]
        else:
            names += [f"{part} {k}" for k in range(table.columns[part].shape[1])]
    return names
