"""The paper's Tables 1 and 2, and this generator's rows beside them.

Source: Deng et al. 2020, Tables 1 and 2. Theirs: FFHQ at 256², their reconstruction and recognition networks, FID with 50 000
and PPL with 100 000 pictures. Ours differ in photos, networks and normaliser, so rows compare only in kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FACTORS = ("identity", "expression", "lighting", "pose")

#: Method to (DS identity, expression, lighting, pose, FID, PPL); None where the paper gives none.
TABLE_1: Mapping[str, tuple[float | None, ...]] = {
    "3DMM": (None, None, None, None, 271.0, None),
    "adversarial": (0.83, 1.98, 0.87, 0.07, 5.49, 106.0),
    "+ imitative": (13.4, 37.0, 40.4, 31.6, 9.15, 102.0),
    "+ contrastive": (7.85, 80.4, 489.0, 36.7, 12.9, 123.0),
}
#: Property to method to (mean, standard deviation) of identity, expression, lighting, pose.
TABLE_2: Mapping[str, Mapping[str, tuple[tuple[float, float], ...]]] = {
    "same_start_and_end": {
        "adversarial": ((0.65, 0.10), (0.21, 0.11), (0.16, 0.12), (0.17, 0.11)),
        "imitative-contrastive": ((0.96, 0.02), (0.82, 0.04), (0.85, 0.03), (0.87, 0.03)),
    },
    "same_offset": {
        "adversarial": ((0.42, 0.14), (0.21, 0.12), (0.16, 0.12), (0.15, 0.11)),
        "imitative-contrastive": ((0.82, 0.06), (0.79, 0.05), (0.85, 0.04), (0.85, 0.04)),
    },
}


def table_1(measurements: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Rows of Table 1, the paper's and then this generator's; figures that there aren't are None."""
    columns = (*(f"ds_{factor}" for factor in FACTORS), "fid", "ppl")
    rows = [
        {"from": "paper", "method": method, **dict(zip(columns, values, strict=True)), "fid_is": None, "ppl_is": None}
        for method, values in TABLE_1.items()
    ]
    ds = measurements.get("disentanglement", {}).get("ds", {})
    distance, distance_name = _distance(measurements.get("quality", {}))
    length, length_name = _length(measurements.get("paths", {}))
    ours = {
        **{f"ds_{factor}": ds.get(factor) for factor in FACTORS},
        **{"fid": distance, "fid_is": distance_name, "ppl": length, "ppl_is": length_name},
    }
    return [*rows, {"from": "here", "method": name, **ours}]


def table_2(measurements: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Rows of Table 2, likewise; each factor a [mean, standard deviation] or None."""
    rows: list[dict[str, Any]] = []
    for part, methods in TABLE_2.items():
        rows += [
            {"from": "paper", "property": part, "method": method, **dict(zip(FACTORS, map(list, values), strict=True))}
            for method, values in methods.items()
        ]
        ours = measurements.get("directions", {}).get(part, {})
        found = {f: [ours[f]["mean"], ours[f]["std"]] if f in ours else None for f in FACTORS}
        rows.append({"from": "here", "property": part, "method": name, **found})
    return rows


def _distance(quality: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """FID, else the Fréchet distance on a feature network, else on whatever there is; and its name."""
    found = [
        (key, value)
        for figures in quality.get("by", {}).values()
        for key, value in figures.items()
        if key == "FID" or key.startswith("fd[")
    ]
    order = sorted(found, key=lambda item: (item[0] != "FID", "efficientnet" not in item[0]))
    return (order[0][1], order[0][0]) if order else (None, None)


def _length(paths: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """The length on full paths in W, as the paper's; and its name."""
    for kind in ("w full", "w end", "lambda full"):
        for key, value in paths.get("by", {}).get(kind, {}).items():
            if key.startswith("ppl["):
                return value, f"{key}, {kind}"
    return None, None
