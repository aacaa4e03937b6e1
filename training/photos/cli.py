"""`python -m training prepare PHOTOS OUT`"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from training.photos.quality import PrepareRecipe
from training.recipe import load_recipe

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("photos", type=_FOLDER)
@click.argument("out", type=_FOLDER)
@click.option("--recipe", type=click.Path(path_type=Path), help="A recipe with a section `prepare`: which photos do.")
@click.option(
    "--landmarks",
    type=click.Path(path_type=Path, exists=True),
    help="Your own: .npy (photos, 468 | 68 | 5, 2 | 3) in the order of the sorted paths; a text file with "
    "`name x1 y1 … x5 y5` per line; or a folder with a <name>.txt of five lines `x y` per photo.",
)
@click.option(
    "--detector",
    help="What finds faces: facemesh, or your own as module:class. Beside --landmarks: those say which face is meant, and "
    "the detector finds its landmarks.  [default: facemesh; none with --landmarks]",
)
@click.option("--workers", type=click.IntRange(1), help="Processes; as many as there are cores by default.")
@click.option("--overwrite", is_flag=True, help="Replace what OUT holds from other settings.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def prepare(
    photos: Path,
    out: Path,
    recipe: Path | None,
    landmarks: Path | None,
    detector: str | None,
    workers: int | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Find and align the face of each photo below the folder PHOTOS, and pack what is good enough into OUT.

    Every photo turned down is listed with its reason in OUT/rejected.csv and pictured in OUT/rejected.jpg. Run it again to go
    on where it stopped. Aligned and in-the-wild pictures both do.
    """
    from synthface.cli import _progress
    from synthface.pipeline import Progress
    from training.photos import prepare as stage

    settings = PrepareRecipe() if recipe is None else load_recipe(recipe, "prepare", PrepareRecipe)
    source = stage.Source(photos, detector or (None if landmarks else "facemesh"), landmarks)
    with _progress("preparing", unit="photos") as on_progress:
        figures = stage.prepare(
            source,
            out,
            settings,
            workers=workers or _num_cores(),
            overwrite=overwrite,
            on_progress=lambda done, total, seconds: on_progress(Progress(done, total, seconds)),
            say=lambda line: click.echo(line, err=True),
        )
    click.echo(json.dumps(figures, indent=2) if as_json else summary(figures, out))


def summary(figures: Mapping[str, Any], out: Path) -> str:
    """The figures in words."""
    total, accepted = figures["num_photos"], figures["num_accepted"]
    lines = [f"{accepted} of {total} photos accepted ({accepted / total:.1%}) in {figures['seconds']:.0f} s: {out}"]
    lines += [f"  {count:6d}  {reason}" for reason, count in figures["rejected"].items()]
    for name, spread in figures["accepted"].items():
        middle = f"{spread['p05']:g} – {spread['median']:g} – {spread['p95']:g}"
        lines.append(f"  {name}: {middle} (5 % – median – 95 %), lowest {spread['min']:g}")
    lines.append(f"look at {out / 'accepted.jpg'}" + (f" and {out / 'rejected.jpg'}" if figures["rejected"] else ""))
    return "\n".join(lines)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
