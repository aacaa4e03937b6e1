"""`python -m training morphable …`"""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def morphable() -> None:
    """Build the default morphable model, or import another."""


@morphable.command("build")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write the model to.")
@click.option(
    "--num-identities", default=2000, show_default=True, help="Random adults to learn the identity basis from."
)
@click.option("--num-shape", default=80, show_default=True, help="Components to keep.")
@click.option("--seed", default=0, show_default=True)
def build_command(out: Path, num_identities: int, num_shape: int, seed: int) -> None:
    """Build the default model from MakeHuman's head (needs the extra `morphable-build`)."""
    from training.morphable.build import build

    basis, figures = build(
        num_identities=num_identities, num_shape=num_shape, seed=seed, report=lambda line: click.echo(line, err=True)
    )
    basis.save(out)
    click.echo(f"{out}: {figures}")


@morphable.command("import")
@click.argument("kind", type=click.Choice(["bfm", "flame", "ict"]))
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write the model to.")
def import_command(kind: str, source: Path, out: Path) -> None:
    """Read the official files of another model in the folder SOURCE."""
    from training.morphable.importers.bfm import import_bfm
    from training.morphable.importers.flame import import_flame
    from training.morphable.importers.ict import import_ict

    basis = {"bfm": import_bfm, "flame": import_flame, "ict": import_ict}[kind](source)
    basis.save(out)
    sizes = f"{basis.num_shape} shape, {basis.num_albedo} albedo, {basis.num_expression} expression components"
    click.echo(f"{out}: {basis.name}, {basis.num_vertices} vertices, {sizes}")
