"""An evaluation in one HTML file: the paper's tables, every figure, curves, pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.networks.mapping import GROUPS
from synthface.report.preview import contact_sheet
from training.evaluate import paper, truncation
from training.evaluate.bench import Bench
from training.evaluate.disentanglement import groups
from training.evaluate.plots import Series, bars, chart
from training.evaluate.subject import Styled

_COLUMNS = 8
_PSIS = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0)


def html_report(result: Mapping[str, Any], bench: Bench) -> str:
    """The report as HTML text without any outside reference.

    Args:
        result: what `run.measure_all` gave.
        bench: for the pictures.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("training.evaluate"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["figure"] = figure
    measured = {name: found for name, found in result["measurements"].items() if "skipped" not in found}
    return environment.get_template("evaluation.html.j2").render(
        result=result,
        measured=measured,
        skipped={name: m["skipped"] for name, m in result["measurements"].items() if "skipped" in m},
        factors=paper.FACTORS,
        seen=[named["name"] for named in result["networks"] if named["seen_by_training"]],
        plots={name: [_markup(svg) for svg in PLOTS[name](found)] for name, found in measured.items() if name in PLOTS},
        captions={name: _captions(name, found) for name, found in measured.items() if name in PLOTS},
        sheets=sheets(bench),
    )


def figure(value: Any) -> str:
    """A number to four digits; – where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return "∞" if math.isinf(value) else f"{value:.4g}"


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _follow(found: Mapping[str, Any], x_label: str, y_label: str = "read by the judge") -> str:
    """What was read against what was asked: the median with 10 % and 90 %, and the line where both are equal."""
    curve = found["curve"]
    middle = [(row["from"] + row["to"]) / 2 for row in curve]
    median, low, high = ([row[key] for row in curve] for key in ("median", "p10", "p90"))
    ends = [curve[0]["from"], curve[-1]["to"]]
    series = [
        Series("", middle, median, low, high),
        Series("", ends, ends, is_dashed=True),
    ]
    return chart(series, x_label=x_label, y_label=y_label)


def _control(found: Mapping[str, Any]) -> list[str]:
    plots = [_follow(about, f"{axis} asked for, °") for axis, about in found["pose"].items()]
    plots += [_failures(about, axis) for axis, about in found["pose"].items() if axis == "yaw"]
    plots += [_follow(about, f"light {name} asked for, °") for name, about in found["lighting"].items()]
    plots += [_follow(found["random"]["skin_tone_ita"], "skin tone asked for, ITA°")]
    return plots + [_follow(about, f"{name} asked for") for name, about in found["expression"].items()]


def _failures(found: Mapping[str, Any], axis: str) -> str:
    middle = [(row["from"] + row["to"]) / 2 for row in found["curve"]]
    series = [Series("", middle, [row["failures"] for row in found["curve"]])]
    return chart(
        series, x_label=f"{axis} asked for, °", y_label=f"off by more than {found['failure']:g}°", y_range=(0.0, 1.0)
    )


def _identity(found: Mapping[str, Any]) -> list[str]:
    plots = []
    for name, figures in found["by"].items():
        curves = [
            Series(nuisance, about["roc"]["false_accepts"], about["roc"]["true_accepts"], has_dots=False)
            for nuisance, about in figures["nuisances"].items()
        ]
        plots.append(
            chart(
                curves,
                x_label=f"false accepts, {name}",
                y_label="true accepts",
                x_range=(0, 1),
                y_range=(0, 1.02),
                legend_below=True,
            )
        )
        counts = figures["nuisances"]["all"]["histogram"]
        low, high = counts["edges"]
        pairs = [("same person", counts["genuine"]), ("other people", counts["impostor"])]
        plots.append(bars(pairs, low=low, high=high, x_label=f"centred cosine, {name}, all changed"))
    return plots


def _truncation(found: Mapping[str, Any]) -> list[str]:
    kinds = found["kinds"]
    names = [name for name in next(iter(kinds.values()))[0] if name != "psi"]
    return [
        chart(
            [Series(kind, [r["psi"] for r in rows], [r[name] for r in rows]) for kind, rows in kinds.items()],
            x_label="ψ",
            y_label=name.replace("_", " "),
        )
        for name in names
    ]


#: Measurement to its charts.
PLOTS = {"control": _control, "identity": _identity, "truncation": _truncation}


def _captions(name: str, found: Mapping[str, Any]) -> str:
    return {
        "control": "Median of what the judge read, with 10 % and 90 %, against what was asked for; dashed: as asked.",
        "identity": "Accepted pairs of one person against accepted pairs of different people, by what changed between the "
        "pictures; and the cosines when everything changed.",
        "truncation": f"{found.get('num')} pictures at each ψ, the same λ and ε.",
    }[name]


def sheets(bench: Bench) -> list[dict[str, str]]:
    """Random pictures, one factor changed at a time, and ψ from 0 to 1."""
    rng, source = bench.rng("sheets"), bench.source
    vector, noise = source.vectors(3 * _COLUMNS, rng=rng), source.noise(3 * _COLUMNS, rng=rng)
    random = _rows(bench.subject.pictures(vector, noise).images)
    found = [_sheet("random faces", "Factors and ε drawn independently.", random)]
    changed = [
        _rows(bench.subject.pictures(*groups(source, factor, 1, _COLUMNS, rng=rng)).images)[0] for factor in GROUPS
    ]
    found.append(_sheet("one factor changed", "Everything else, ε too, stays within a row.", changed, list(GROUPS)))
    if isinstance(bench.subject, Styled):
        for kind in truncation.KINDS:
            rows = [
                bench.subject.truncated(psi, kind).pictures(vector[:_COLUMNS], noise[:_COLUMNS]).images for psi in _PSIS
            ]
            labels = [f"ψ {psi:g}" for psi in _PSIS]
            found.append(_sheet(f"truncation, {kind}", "The same λ and ε in a column.", _rows(torch.cat(rows)), labels))
    return found


def _rows(images: Tensor) -> list[list[np.ndarray]]:
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [list(pixels[start : start + _COLUMNS]) for start in range(0, len(pixels), _COLUMNS)]


def _sheet(name: str, about: str, rows: list[list[np.ndarray]], labels: Sequence[str] = ()) -> dict[str, str]:
    buffer = io.BytesIO()
    contact_sheet(rows, row_labels=labels, cell_px=96).save(buffer, "JPEG", quality=88)
    return {"name": name, "about": about, "data": base64.b64encode(buffer.getvalue()).decode()}
