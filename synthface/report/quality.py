"""What a dataset promised of itself and what became of it, as figures and histograms for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from synthface.identities import read_chosen
from synthface.report.histogram import svg
from synthface.storage import Store

if TYPE_CHECKING:
    import pandas as pd

_BINS = 24


def identity_section(store: Store, manifest: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, Any] | None:
    """How identities were chosen: counts, distances to the nearest other, balance per split; None where they weren't."""
    report = manifest.get("quality", {}).get("identities")
    if report is None:
        return None
    section: dict[str, Any] = {"report": report, "distances": None, "balance": None}
    if "separation" in report:
        chosen = read_chosen(store.read("identities.parquet"))
        assert chosen is not None
        assert chosen.nearest_distance is not None
        section["distances"] = _histogram(chosen.nearest_distance)
    if "balance" in report:
        section["balance"] = _balance(report["balance"], frame)
    return section


def _balance(balance: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, Any]:
    """A row per bin: identities asked for, found, and in each split."""
    people = frame.drop_duplicates("identity")
    edges, splits = np.asarray(balance["edges"]), list(dict.fromkeys(people.split))
    rows = []
    for number, (asked, found) in enumerate(zip(balance["asked"], balance["found"], strict=True)):
        low, high = edges[number], edges[number + 1]
        is_last = number == len(edges) - 2
        values = people[balance["by"]].astype(np.float64)
        # Labels are float32, edges aren't: a hair's breadth of room keeps everybody in the bin of the choice.
        mine = people[(values >= low - 1e-5) & ((values <= high + 1e-5) if is_last else (values < high - 1e-5))]
        rows.append(
            {
                "name": f"{low:g} to {high:g}",
                "asked": asked,
                "found": found,
                "share": f"{found / max(sum(balance['found']), 1):.1%}",
                "splits": [int((mine.split == split).sum()) for split in splits],
            }
        )
    return {"by": balance["by"], "splits": splits, "rows": rows}


def audit_section(manifest: Mapping[str, Any], frame: pd.DataFrame) -> dict[str, Any] | None:
    """What was read off the pictures: residuals, what failed, what all of them share; None where nobody looked."""
    report = manifest.get("quality", {}).get("audit")
    if report is None:
        return None
    checked = frame[frame.audit_checked.astype(bool)]
    factors = []
    for name, about in report["factors"].items():
        values = checked[f"audit_{name}"].to_numpy()
        factors.append({"name": name, **about, "svg": _histogram(values, limit=about["limit"])})
    return {"report": report, "factors": factors, "identity": _consistency(checked)}


def _consistency(checked: pd.DataFrame) -> dict[str, Any] | None:
    """How alike the pictures of one identity are, by f_id: per identity, and over all."""
    if "audit_identity" not in checked or not len(checked):
        return None
    per_identity = checked.groupby("identity").audit_identity.mean()
    return {
        "median": f"{1 - checked.audit_identity.median():.2f}",
        "worst": f"{1 - per_identity.max():.2f}",
        "worst_identity": per_identity.idxmax(),
        "num": len(per_identity),
    }


def _histogram(values: Any, limit: float | None = None) -> Any:
    from markupsafe import Markup

    if not len(values):
        return ""
    high = float(max(values.max(), limit or 0.0))
    low = min(float(values.min()), high - 1e-6)
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    return Markup(svg(counts.tolist(), float(edges[0]), float(edges[-1]), mark=limit))
