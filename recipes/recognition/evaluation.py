"""A network on pair sets: figures, figures by bin, the ROC; as JSON and as one HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.recognition.bins import BINNINGS, bins
from recipes.recognition.describe import cosines, describe_all
from recipes.recognition.networks import Backbone
from recipes.recognition.pairs import PairSet
from recipes.recognition.verification import by_bin, figures, fold_thresholds, roc
from training.evaluate.plots import Series, chart

JSON, HTML = "verification.json", "verification.html"
_POINTS = 200
_LEAST_FAR = 1e-4
#: Colours of `training.evaluate.plots`, for pages and for pictures that stand alone.
STYLE = (
    ":root{color-scheme:light dark}svg{background:#fcfcfa}text{font:10px system-ui,sans-serif;fill:#24292f}"
    ".frame{fill:none;stroke:#d8d8d2}.tick{stroke:#d8d8d2;stroke-width:.5}polyline{fill:none;stroke-width:1.6}"
    "polyline.dashed{stroke-dasharray:4 3;stroke:#7a7a7a;stroke-width:1}"
    + "".join(
        f".f{n}{{fill:{colour}}}.l{n}{{stroke:{colour}}}"
        for n, colour in enumerate(("#2f6f8f", "#c8622c", "#5b8c3a", "#8a5aa8", "#b0912a", "#7a7a7a"))
    )
)


def evaluate(
    network: Backbone,
    sets: Sequence[PairSet],
    *,
    device: torch.device | str | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Figures of each pair set, as JSON takes them; on the GPU where there is one and no device is named."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    result = {}
    for pairs in sets:
        scores = cosines(describe_all(network, pairs, network.settings.size_px, device=device), pairs)
        result[pairs.name] = measure(pairs, scores)
        found = result[pairs.name]
        report(f"{pairs.name}: accuracy {found['accuracy']:.4f}  AUC {found['auc']:.4f}  EER {found['eer']:.4f}")
    return result


def measure(pairs: PairSet, scores: np.ndarray) -> dict[str, Any]:
    """Figures of scores (P,), by bin where labels are known, and the ROC at FARs that are evenly spaced in the logarithm."""
    thresholds = fold_thresholds(scores, pairs.same, pairs.folds)
    curve = roc(scores, pairs.same)
    fars = np.geomspace(_LEAST_FAR, 1, _POINTS)
    places = np.searchsorted(curve.far, fars, side="right") - 1
    return {
        **figures(scores, pairs.same, pairs.folds),
        "by": {
            binning.column: by_bin(scores, pairs.same, thresholds, bins(pairs.labels, pairs.a, pairs.b, binning))
            for binning in BINNINGS
            if binning.column in pairs.labels
        },
        "roc": {"far": fars.tolist(), "tar": curve.tar[places].tolist()},
    }


def write_report(out: Path, result: Mapping[str, Any], *, title: str) -> None:
    """`verification.json` and `verification.html` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / JSON).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (out / HTML).write_text(page(result, title=title), encoding="utf-8")


def page(result: Mapping[str, Any], *, title: str) -> str:
    """The figures as one HTML page without any outside reference."""
    rows = "".join(_row(name, found) for name, found in result.items())
    fars = list(next(iter(result.values()))["tar_at_far"]) if result else []
    heads = ["pairs", "accuracy", "±", "AUC", "EER", *(f"TAR at FAR {far}" for far in fars), "genuine", "impostor"]
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    binned = "".join(_bins(name, found["by"]) for name, found in result.items() if found["by"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>'
        "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}"
        "td,th{padding:.1rem .8rem .1rem 0;text-align:right}td:first-child,th:first-child{text-align:left}"
        f"{STYLE}</style><h1>{escape(title)}</h1><table><tr>{head}</tr>{rows}</table>{_roc(result)}{binned}</html>\n"
    )


def shown(value: float | None) -> str:
    """A share to four digits; – where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


def _row(name: str, found: Mapping[str, Any]) -> str:
    values = [found["accuracy"], found["accuracy_std"], found["auc"], found["eer"], *found["tar_at_far"].values()]
    cells = [escape(name), *(shown(value) for value in values), str(found["genuine"]), str(found["impostor"])]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _roc(result: Mapping[str, Any]) -> str:
    series = [
        Series(name, [math.log10(far) for far in found["roc"]["far"]], found["roc"]["tar"], has_dots=False)
        for name, found in result.items()
    ]
    if not series:
        return ""
    return "<h2>ROC</h2>" + chart(
        series, x_label="log₁₀ FAR", y_label="TAR", y_range=(0, 1.02), legend_below=True, width=560, height=330
    )


def _bins(name: str, by: Mapping[str, Any]) -> str:
    parts = []
    for column, found in by.items():
        rows = "".join(
            f"<tr><td>{escape(label)}</td>"
            + "".join(f"<td>{shown(entry[key])}</td>" for key in ("accuracy", "auc", "tar", "far"))
            + f"<td>{entry['genuine']}</td><td>{entry['impostor']}</td></tr>"
            for label, entry in found.items()
            if entry["genuine"] or entry["impostor"]
        )
        heads = "".join(f"<th>{h}</th>" for h in (column, "accuracy", "AUC", "TAR", "FAR", "genuine", "impostor"))
        parts.append(f"<table><tr>{heads}</tr>{rows}</table>")
    return f"<h2>{escape(name)} by label</h2>{''.join(parts)}"
