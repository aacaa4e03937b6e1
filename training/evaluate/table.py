"""Several evaluations side by side, an ablation's say: `python -m training.evaluate.table OUT …` prints Markdown.

Each OUT is the folder of an evaluation. Figures are put side by side only where they were taken alike: the same photos,
features, judges and numbers of pictures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from synthface.errors import DatasetError, SynthfaceError
from training.evaluate.paper import FACTORS

#: What must agree between evaluations, as a path into the JSON.
_ALIKE = (("photos", "digest"), ("settings", "disentanglement"), ("settings", "quality"), ("settings", "size_px"))


@click.command()
@click.argument("folders", type=click.Path(path_type=Path, file_okay=False), nargs=-1, required=True)
def main(folders: tuple[Path, ...]) -> None:
    """Print one Markdown table over the evaluations in FOLDERS, in this order."""
    click.echo(markdown([read(folder) for folder in folders]))


def read(folder: Path) -> dict[str, Any]:
    """An evaluation's figures.

    Raises:
        DatasetError: there are none.
    """
    try:
        found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{folder}: no evaluation there ({error}); `python -m training evaluate` writes one"
        ) from error
    return found


def markdown(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Table 1 and Table 2 with a row per evaluation, and some more figures.

    Raises:
        DatasetError: two of them were not taken alike.
    """
    ours = [found["table_1"][-1] for found in evaluations]
    names = _common_names(evaluations, ours)
    heads = ["", *(f"DS {f}" for f in FACTORS), names["fid_is"], names["ppl_is"]]
    heads += ["precision", "recall", "EER, all changed", "yaw error, °", "light azimuth error, °"]
    rows = [
        [found["name"], *(row[f"ds_{f}"] for f in FACTORS), row["fid"], row["ppl"], *_more(found["measurements"], row)]
        for found, row in zip(evaluations, ours, strict=True)
    ]
    parts = ["Disentanglement and quality", "", _table(heads, rows)]
    for part in ("same_start_and_end", "same_offset"):
        cosines = [
            [found["name"], *(_spread(row[f]) for f in FACTORS)]
            for found in evaluations
            for row in found["table_2"]
            if row["from"] == "here" and row["property"] == part
        ]
        parts += ["", f"Mean cosine of Δw, {part.replace('_', ' ')}", "", _table(["", *FACTORS], cosines)]
    return "\n".join(parts)


def _common_names(evaluations: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the columns FID and PPL are in these evaluations."""
    for path in _ALIKE:
        values = {found["name"]: _at(found, path) for found in evaluations}
        if len({json.dumps(value, sort_keys=True) for value in values.values()}) > 1:
            raise DatasetError(f"{'.'.join(path)} differs ({values}); evaluate them with the same photos and settings")
    names = {}
    for key, plain in (("fid_is", "distance"), ("ppl_is", "path length")):
        found = {row[key] for row in ours if row[key] is not None}
        if len(found) > 1:
            raise DatasetError(f"figures are on {' and '.join(sorted(found))}; evaluate them on the same features")
        names[key] = next(iter(found), plain)
    return names


def _at(found: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = found
    for name in path:
        value = (value or {}).get(name)
    return value


def _more(measured: Mapping[str, Any], row: Mapping[str, Any]) -> list[Any]:
    """Precision and recall on the features of the distance, identity by the network that judges, errors of angles."""
    quality: Mapping[str, Any] = next(
        (q for q in measured.get("quality", {}).get("by", {}).values() if row["fid_is"] in q), {}
    )
    people: Mapping[str, Any] = next(iter(measured.get("identity", {}).get("by", {}).values()), {})
    control = measured.get("control", {})
    return [
        quality.get("precision"),
        quality.get("recall"),
        _at(people, ("nuisances", "all", "eer")),
        _at(control, ("pose", "yaw", "mae")),
        _at(control, ("lighting", "azimuth", "mae")),
    ]


def _spread(value: Sequence[float] | None) -> str | None:
    return None if value is None else f"{value[0]:.2f} ± {value[1]:.2f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    from training.evaluate.report import figure

    lines = [heads, ["---"] * len(heads), *([figure(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    try:
        main(prog_name="python -m training.evaluate.table")
    except SynthfaceError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
