"""How well an audit tells faults from faultless pictures, and what it costs.

    python -m tests.benchmarks.bench_audit FOLDER                   # renders once, then measures; again: measures
    python -m tests.benchmarks.bench_audit FOLDER --estimator DIR   # another network

Prints residuals on faultless renderings (from which the default limits come), false alarms, planted faults found, what a shared
error of yaw is read as, and the audit's time over that of its estimators' bare forward passes.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

import synthface
from synthface.engines.local import single_threaded
from synthface.job import prepare
from synthface.pipeline import render
from synthface.quality.verify import LabelReport, verify_labels
from synthface.sampling import sample
from synthface.spec.names import AUDIT_LIMITS
from synthface.tiles import make_pictures
from tests.quality.planting import mirrored, plainly_sided, planted, shifted, swapped, with_yaw

#: Share of faultless pictures that each single limit lets fail.
_EACH = 0.0015


def spec(num_images: int, size_px: int, seed: int = 5) -> dict[str, Any]:
    """Varied pictures: wide poses, expressions, side light, and no two tiles alike."""
    return {
        "version": 1,
        "name": "audit",
        "seed": seed,
        "identities": {"count": num_images // 10},
        "images_per_identity": 10,
        "factors": {
            "pose": {"yaw": {"uniform": [-40, 40]}, "pitch": {"uniform": [-15, 15]}, "roll": {"uniform": [-8, 8]}},
            "lighting": {
                "ambient": {"uniform": [0.2, 0.5]},
                "lights": [
                    {
                        "azimuth": {"uniform": [-90, 90]},
                        "elevation": {"uniform": [-10, 60]},
                        "intensity": {"uniform": [0.5, 1.0]},
                    }
                ],
            },
        },
        "output": {"image": {"size": size_px}, "shards": {"samples": 500}},
    }


def faultless(folder: Path, num_images: int, size_px: int, seed: int, workers: int) -> Path:
    """The dataset, rendered once; its identities are described, as an audit of identity needs."""
    out = folder / "faultless"
    document = {**spec(num_images, size_px, seed), "identities": {"count": num_images // 10, "min_distance": 0.0}}
    render(document, out, workers=workers, on_progress=_say)
    return out


def _say(progress: Any) -> None:
    print(f"  {progress.what}: {progress.done} of {progress.total}", end="\r", flush=True)


def look(dataset: Path, estimator: str, **limits: float | None) -> LabelReport:
    """An audit with these limits, or the defaults."""
    return verify_labels(dataset, estimator=estimator, limits=limits or None)


def limits_of(dataset: Path, estimator: str) -> dict[str, float | None]:
    """Per factor the residual that `_EACH` of faultless pictures exceed; expression off, unless the defaults look at it."""
    report = look(dataset, estimator, **dict.fromkeys(AUDIT_LIMITS, 1e-9))
    names = list(report.factors)
    values = {name: np.array([sample.residuals[name] for sample in report.failed]) for name in names}
    print(f"residuals on {report.num_checked} faultless pictures")
    for name in names:
        quantiles = " ".join(f"{np.quantile(values[name], q):8.3f}" for q in (0.5, 0.9, 0.99, 1 - _EACH, 1.0))
        print(f"  {name:11s} median, 90 %, 99 %, {1 - _EACH:.2%}, most: {quantiles}   (limit now {AUDIT_LIMITS[name]})")
    for bias in report.biases:
        print(f"  {bias.name:18s} median {bias.median:+.3f} ± {bias.error:.3f}   (let pass {bias.limit:g})")
    measured = {name: float(np.quantile(values[name], 1 - _EACH)) for name in names}
    return {name: None if AUDIT_LIMITS[name] is None else limit for name, limit in measured.items()}


def found(report: LabelReport, rows: np.ndarray) -> float:
    """Share of the rows that failed."""
    failed = {int(sample.key) for sample in report.failed}
    return float(np.mean([int(row) in failed for row in rows]))


def faults(folder: Path, dataset: Path, estimator: str, limits: dict[str, float | None]) -> None:
    """Plant faults and look for them."""
    num = len(synthface.labels(dataset, columns=["key"]))
    rows = np.random.default_rng(0).permutation(num)[: num // 10 * 2]
    sided = plainly_sided(dataset)
    for name, changes, where in (
        ("swapped pictures", swapped(rows), rows),
        ("labels shifted by one", shifted(num), np.arange(num)),
        ("mirrored pictures", dict.fromkeys(sided.tolist(), mirrored), sided),
    ):
        shutil.rmtree(folder / "faulty", ignore_errors=True)
        report = look(planted(dataset, folder / "faulty", changes), estimator, **limits)
        share = found(report, where)
        by = ", ".join(f"{name} {about['failed']}" for name, about in report.factors.items())
        print(f"{name}: {share:.2%} of {len(where)} found (goal ≥ 99 %); beyond limits: {by}; sound: {report.is_sound}")
    shutil.rmtree(folder / "faulty", ignore_errors=True)
    report = look(with_yaw(dataset, folder / "faulty", 10.0), estimator, **limits)
    bias = next(bias for bias in report.biases if bias.name == "yaw_deg")
    print(
        f"10° on every yaw: read as {-bias.median:+.2f}° ± {bias.error:.2f}°, found: {bias.is_off}; sound: {report.is_sound}"
    )
    shutil.rmtree(folder / "faulty", ignore_errors=True)


def cost(estimator: str, size_px: int, num_tiles: int = 12) -> float:
    """CPU time of the audit over that of the bare forward passes of its estimators, tile by tile."""
    import torch

    document = {**spec(200, size_px), "quality": {"audit": {"estimator": estimator}}}
    job = prepare(document)
    from synthface.identity_stage import choose_for, chosen_job

    tile = job.info.tile_size
    with single_threaded():
        few = dataclasses.replace(job, spec=job.spec)
        job = chosen_job(few, choose_for(few, count=num_tiles))
        made = [make_pictures(job, sample(job.plan, np.arange(n * tile, (n + 1) * tile))) for n in range(num_tiles)]
        auditor, rows = job.auditor, np.arange(tile)
        auditor.look(made[0], rows)
        began = time.process_time()
        for picture in made:
            auditor.look(picture, rows)
        audit = time.process_time() - began
        pixels = [torch.from_numpy(p.view).permute(0, 3, 1, 2).float() / 127.5 - 1 for p in made]
        points = [torch.from_numpy(p.landmarks) for p in made if p.landmarks is not None]
        began = time.process_time()
        with torch.no_grad():
            for images, landmarks in zip(pixels, points, strict=True):
                auditor._estimator(images)
                job.recognition(images, landmarks)
        bare = time.process_time() - began
    num = num_tiles * tile
    print(f"audit {1e3 * audit / num:.1f} ms a picture, bare forward passes {1e3 * bare / num:.1f} ms (CPU)")
    return audit / bare


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument(
        "--seed", type=int, default=5, help="another one checks limits on pictures they weren't measured on"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--estimator", default="reconstruction")
    parser.add_argument("--measured", action="store_true", help="look with the limits measured here, not the defaults")
    options = parser.parse_args()
    print(f"cost: {cost(options.estimator, options.size):.3f}× the bare forward passes (goal ≤ 1.1)", flush=True)
    dataset = faultless(options.folder, options.images, options.size, options.seed, options.workers)
    limits = limits_of(dataset, options.estimator)
    report = look(dataset, options.estimator, **(limits if options.measured else {}))
    print(
        f"false alarms: {len(report.failed) / report.num_checked:.2%} (goal < 1 %), sound: {report.is_sound}",
        flush=True,
    )
    faults(options.folder, dataset, options.estimator, limits if options.measured else dict(AUDIT_LIMITS))


if __name__ == "__main__":
    main()
