"""What an audit found over a whole dataset, and what a dataset without its dropped pictures still holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.plan import Plan
from synthface.spec.model import Audit


def audit_summary(labels: Path, audit: Audit, num_dropped: int) -> dict[str, Any]:
    """An audit's figures as plain data.

    Args:
        labels: the joined label table.
        audit: what was asked for.
        num_dropped: pictures that were left out.
    """
    import pyarrow.parquet as pq

    errors = [f"audit_{axis}_error_deg" for axis in ("yaw", "pitch", "roll")] if "pose_deg" in audit.limits else []
    names = ["audit_checked", "audit_failed", "audit_tries", *(f"audit_{name}" for name in audit.limits), *errors]
    table = pq.read_table(labels, columns=names)
    values = {name: np.asarray(table.column(name).to_numpy()) for name in names}
    checked = values["audit_checked"].astype(bool)
    factors = {}
    for name, limit in audit.limits.items():
        found = values[f"audit_{name}"][checked]
        factors[name] = {"limit": limit, "failed": int((found > limit).sum()), **_quantiles(found)}
    return {
        "estimator": audit.estimator,
        "on_fail": audit.on_fail,
        "redraw": audit.redraw if audit.on_fail == "resample" else None,
        "checked": int(checked.sum()) + num_dropped,
        "failed": int(values["audit_failed"].sum()) + num_dropped,
        "dropped": num_dropped,
        "drawn_again": int((values["audit_tries"] > 1).sum()),
        "tries": int(values["audit_tries"].sum()) + num_dropped,
        "factors": factors,
        "bias_deg": {name.split("_")[1]: mean_and_error(values[name][checked]) for name in errors},
    }


def _quantiles(values: npt.NDArray[Any]) -> dict[str, float]:
    if not len(values):
        return {}
    return {name: float(np.quantile(values, q)) for name, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))}


def mean_and_error(values: npt.NDArray[Any]) -> dict[str, float]:
    """Median, mean and the mean's standard error."""
    if not len(values):
        return {}
    spread = float(np.std(values, dtype=np.float64))
    return {
        "median": float(np.median(values)),
        "mean": float(np.mean(values, dtype=np.float64)),
        "error": spread / float(np.sqrt(len(values))),
    }


def audit_shortfalls(quality: Mapping[str, Any]) -> Iterator[str]:
    """In words what an audit left wanting."""
    audit = quality["audit"]
    if audit["dropped"]:
        yield f"{audit['dropped']} of {audit['checked']} pictures looked at failed and are left out"
    elif audit["failed"] and audit["on_fail"] == "resample":
        yield (
            f"{audit['failed']} of {audit['checked']} pictures looked at failed however often they were drawn; the best is "
            "kept and marked `audit_failed`"
        )
    elif audit["failed"]:
        yield f"{audit['failed']} of {audit['checked']} pictures looked at failed; they are marked `audit_failed`"
    for name, pairs in quality.get("pairs", {}).items():
        yield f"pairs {name}: {pairs['written']} of {pairs['asked']}, the rest names pictures that are left out"


@dataclass(frozen=True)
class Present:
    """What a dataset holds after some of its pictures were left out.

    Args:
        keys: of all samples that are there.
        split, condition, identity: (N,) of each.
    """

    keys: frozenset[str]
    split: npt.NDArray[Any]
    condition: npt.NDArray[Any]
    identity: npt.NDArray[np.int64]

    def counts(self, plan: Plan) -> dict[str, Any]:
        """The manifest's counts."""
        splits = {}
        for part in plan.splits:
            mine = self.split == part.name
            splits[part.name] = {"images": int(mine.sum()), "identities": len(np.unique(self.identity[mine]))}
        return {
            "images": len(self.keys),
            "identities": len(np.unique(self.identity)),
            "splits": splits,
            "conditions": {stratum.name: int((self.condition == stratum.name).sum()) for stratum in plan.strata},
        }


def labels_present(labels: Path) -> Present:
    """What is in a joined label table."""
    import pyarrow.parquet as pq

    table = pq.read_table(labels, columns=["key", "split", "condition", "identity"])
    split, condition = (np.array(table.column(name).to_pylist()) for name in ("split", "condition"))
    return Present(frozenset(table.column("key").to_pylist()), split, condition, table.column("identity").to_numpy())


def pairs_left(csv: bytes, present: Present) -> bytes:
    """A pair list without the pairs that name a missing sample."""
    header, *rows = csv.decode().splitlines(keepends=True)
    kept = [row for row in rows if {*row.split(",", 2)[:2]} <= present.keys]
    return "".join([header, *kept]).encode()
