"""What a spec would give, without rendering: counts, splits, size, time, and what it asks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthface.job import Job, SpecSource, prepare
from synthface.report.histogram import blocks
from synthface.sampling import sample

#: Rows that requested distributions are estimated from.
_PROBES = 2000
#: JPEG bytes per pixel at quality 95 without chroma subsampling, and label bytes a sample; measured on quickstart.
_BYTES_PER_PIXEL, _LABEL_BYTES = 0.36, 5500.0
#: CPU seconds of the analytic renderer per megapixel of view, on one core of 2024; an order of magnitude.
_SECONDS_PER_MEGAPIXEL = 2.2


def describe_plan(spec: SpecSource, *, generator: str | None = None) -> dict[str, Any]:
    """A plan's figures as plain data.

    Raises:
        SpecError: the spec is wrong, or its pair lists ask for more pairs than there are.
    """
    from synthface.pairs import pair_lists

    job = prepare(spec, generator=generator)
    plan = job.plan
    pairs = {name: content.count(b"\n") - 1 for name, content in pair_lists(plan)}
    image = job.spec.output.image
    bytes_each = _BYTES_PER_PIXEL * image.size**2 * (1.0 if image.format == "jpg" else 3.0) + _LABEL_BYTES
    return {
        "name": job.spec.name,
        "spec_sha256": job.spec.digest,
        "generator": job.info.name,
        "images": plan.num_images,
        "identities": plan.num_identities,
        "shards": len(plan.shards),
        "splits": {
            s.name: {"images": s.stop - s.start, "identities": s.last_identity - s.first_identity} for s in plan.splits
        },
        "conditions": {s.name: n * plan.num_identities for s, n in zip(plan.strata, plan.counts, strict=True)},
        "pairs": pairs,
        "estimated_bytes": int(plan.num_images * bytes_each),
        "estimated_cpu_seconds": round(plan.num_images * image.size**2 * 1e-6 * _SECONDS_PER_MEGAPIXEL, 1),
        "requested": requested(job),
        **_choice(job),
    }


def _choice(job: Job) -> dict[str, Any]:
    """How identities will be chosen; nothing where they are taken as they come."""
    identities = job.spec.identities
    found: dict[str, Any] = {}
    if identities.min_distance is not None:
        found |= {"min_distance": identities.min_distance, "max_compared": identities.count * identities.max_tries}
    if identities.balance is not None:
        found |= {"balance": vars(identities.balance), "max_drawn": identities.count * identities.balance.max_tries}
    return {"choice": found} if found else {}


def requested(job: Job) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation, range and histogram of every scalar label that varies, over evenly spread rows."""
    count = min(_PROBES, job.plan.num_images)
    drawn = sample(job.plan, np.linspace(0, job.plan.num_images - 1, count).astype(np.int64))
    result = {}
    for column in job.plan.columns():
        values = drawn.columns[column.name]
        if column.dtype != "float32" or column.shape or np.ptp(values) <= 1e-6 * np.abs(values).max():
            continue
        counts, edges = np.histogram(values.astype(np.float64), bins=20)
        result[column.name] = {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "low": float(values.min()),
            "high": float(values.max()),
            "unit": column.unit,
            "histogram": counts.tolist(),
            "edges": [float(edge) for edge in edges],
        }
    return result


def plan_text(plan: dict[str, Any]) -> str:
    """A plan's figures for people."""
    hours = plan["estimated_cpu_seconds"] / 3600
    took = f"{hours:.1f} CPU hours" if hours > 1 else f"{plan['estimated_cpu_seconds']:.0f} CPU seconds"
    lines = [
        f"{plan['name']}  (generator {plan['generator']}, spec {plan['spec_sha256'][:12]})",
        f"  {plan['images']} images of {plan['identities']} identities in {plan['shards']} shards",
        f"  about {plan['estimated_bytes'] / 1e6:.0f} MB, very roughly {took}",
        "",
        "  split        images  identities",
        *(f"  {name:10s} {s['images']:8d}  {s['identities']:10d}" for name, s in plan["splits"].items()),
        "",
        "  condition    images",
        *(f"  {name:10s} {count:8d}" for name, count in plan["conditions"].items()),
    ]
    lines += ["", *(f"  pairs {name}: {count}" for name, count in plan["pairs"].items())] if plan["pairs"] else []
    lines += _choice_lines(plan.get("choice", {}))
    lines += ["", f"  {'requested':34s} {'low':>8s} {'mean':>8s} {'high':>8s}"]
    for name, about in plan["requested"].items():
        numbers = " ".join(f"{about[key]:8.2f}" for key in ("low", "mean", "high"))
        lines.append(f"  {name:34s} {numbers}  {blocks(about['histogram'])}  {about['unit']}".rstrip())
    return "\n".join(lines)


def _choice_lines(choice: dict[str, Any]) -> list[str]:
    lines = []
    if "min_distance" in choice:
        most = choice["max_compared"]
        lines.append(
            f"  identities at least {choice['min_distance']:g} apart, chosen among at most {most} (synthface capacity)"
        )
    if "balance" in choice:
        balance = choice["balance"]
        lines.append(
            f"  equal numbers of identities per bin of {balance['by']}: {', '.join(f'{e:g}' for e in balance['edges'])}"
        )
    return ["", *lines, "  the distributions below are of draws before the choice"] if lines else []
