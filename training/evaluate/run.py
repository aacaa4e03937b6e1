"""An evaluation from end to end: open, measure, tabulate, report."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from synthface.errors import SynthfaceError
from synthface.networks.mapping import GROUPS
from synthface.pipeline import Progress
from training.evaluate import (
    control,
    directions,
    disentanglement,
    identity,
    paper,
    paths,
    quality,
    source,
    truncation,
)
from training.evaluate.bench import Bench, Unavailable
from training.evaluate.loading import load_networks
from training.evaluate.real import RealPhotos
from training.evaluate.recipe import NAMES, EvaluateRecipe
from training.evaluate.source import FactorSource
from training.evaluate.store import Counter, Store
from training.evaluate.subject import BundleSubject, Subject, open_subject
from training.recipe import to_plain

FORMAT = "synthface-evaluation-1"
JSON, HTML, CACHE = "evaluation.json", "evaluation.html", "cache"

#: Name to module: `count(bench)` pictures, kept ones too, and `measure(bench)`, which raises `Unavailable` where it can't.
MEASUREMENTS: Mapping[str, ModuleType] = MappingProxyType(
    dict(zip(NAMES, (disentanglement, quality, paths, directions, identity, control, truncation), strict=True))
)


@dataclass(frozen=True)
class Inputs:
    """What an evaluation reads.

    Args:
        bundle: the generator, by the name a spec would give it.
        real: a prepared folder of photos.
        table: a λ table: where factors come from, and how photos are cropped.
        networks: a data folder whose networks judge in place of those that ship.
        inception: TF-Inception as TorchScript.
    """

    bundle: str
    real: Path | None = None
    table: Path | None = None
    networks: Path | None = None
    inception: Path | None = None


def evaluate(
    inputs: Inputs,
    out: Path,
    recipe: EvaluateRecipe,
    *,
    only: Sequence[str] = (),
    device: str = "cpu",
    on_progress: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure a generator and write `evaluation.json` and `evaluation.html` to `out`.

    Args:
        inputs: what to measure, against what.
        out: folder; kept readings in it are used again.
        recipe: how much.
        only: names of `MEASUREMENTS`; all without it.
        device: where to compute.
        on_progress: called with pictures done and to do.
        say: called with a line now and then.

    Raises:
        SynthfaceError: an input can't be used.
    """
    from training.evaluate.report import html_report

    bench = open_bench(inputs, out, recipe, device=device)
    result = measure_all(bench, only=only, on_progress=on_progress, say=say)
    write_json(out / JSON, result)
    (out / HTML).write_text(html_report(result, bench), encoding="utf-8")
    return result


def open_bench(inputs: Inputs, out: Path, recipe: EvaluateRecipe, *, device: str = "cpu") -> Bench:
    """The generator, the networks, the photos, and where factors come from."""
    subject = open_subject(inputs.bundle, size_px=recipe.size_px, device=device)
    networks = load_networks(subject, data=inputs.networks, inception=inputs.inception, device=device)
    real = None if inputs.real is None else RealPhotos(inputs.real, inputs.table)
    (out / CACHE).mkdir(parents=True, exist_ok=True)
    factors = factor_source(subject, inputs.table, recipe.seed)
    return Bench(subject, factors, networks, recipe, Store(out / CACHE, recipe.chunk), real)


def factor_source(subject: Subject, table: Path | None, seed: int) -> FactorSource:
    """A λ table's rows, else a bundle's priors, else, for generators that learned from none, made up.

    Raises:
        SynthfaceError: it is a bundle without priors, and there is no table.
    """
    if table is not None:
        return source.table_source(table, subject.layout)
    if not isinstance(subject, BundleSubject):
        return source.invented_source(subject.basis, seed=seed)
    decoders = subject.bundle.priors()
    if set(GROUPS) <= set(decoders):
        return source.prior_source(decoders, subject.layout, seed=seed)
    raise SynthfaceError(
        f"{subject.name}: the bundle has no priors, so nothing says what faces to ask for; give --lambda, the λ table that "
        "it was trained on"
    )


def measure_all(
    bench: Bench,
    *,
    only: Sequence[str] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Every measurement; one that can't be taken is there with its reason."""
    names = [name for name in NAMES if not only or name in only]
    bench.store.counter = Counter(sum(MEASUREMENTS[name].count(bench) for name in names), report=on_progress)
    say(f"{bench.subject.name}: {bench.store.counter.total} pictures to look at, {bench.subject.size_px} px")
    measurements: dict[str, Any] = {}
    for name in names:
        began = time.monotonic()
        try:
            found = MEASUREMENTS[name].measure(bench)
        except Unavailable as reason:
            measurements[name] = {"skipped": str(reason)}
            say(f"{name}: skipped: {reason}")
            continue
        measurements[name] = {**_seen(found, bench), "seconds": round(time.monotonic() - began, 1)}
        say(f"{name}: {measurements[name]['seconds']:.0f} s")
    return _document(bench, measurements)


def _document(bench: Bench, measurements: dict[str, Any]) -> dict[str, Any]:
    real, name = bench.real, bench.subject.name
    return {
        "format": FORMAT,
        "name": name,
        "generator": bench.subject.describe(),
        "training": dict(bench.subject.bundle.config.training) if isinstance(bench.subject, BundleSubject) else None,
        "factors_from": bench.source.name,
        "photos": None
        if real is None
        else {"num": len(real), "digest": real.digest, "crops": "fitted" if real.has_fitted_crops else "as prepared"},
        "networks": [named.to_plain() for named in bench.networks.all()],
        "missing_networks": dict(bench.networks.missing),
        "settings": to_plain(bench.recipe),
        "measurements": measurements,
        "table_1": paper.table_1(measurements, name),
        "table_2": paper.table_2(measurements, name),
    }


def _seen(found: dict[str, Any], bench: Bench) -> dict[str, Any]:
    """Add `seen_by_training` to every part that names the networks its figures come from."""
    result = {key: _seen(value, bench) if isinstance(value, dict) else value for key, value in found.items()}
    if "networks" in found:
        result["seen_by_training"] = any(bench.networks.named(name).seen_by_training for name in found["networks"])
    return result


def write_json(path: Path, value: Any) -> None:
    """As JSON without NaN or infinity, which JSON has no word for: they become null."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(finite(value), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def finite(value: Any) -> Any:
    """Plain data with None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
