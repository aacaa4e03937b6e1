"""Controlled synthetic face datasets: a spec in, labelled WebDataset shards out.

    import synthface

    spec = synthface.load_spec("specs/quickstart.yaml")
    synthface.render(spec, "quickstart", workers=2)
    for sample in synthface.open_dataset("quickstart", split="train"):
        sample["image"], sample["labels"]["yaw_deg"]

Everything is loaded when it is first used: importing synthface imports neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from synthface.errors import SpecError, SynthfaceError
    from synthface.generators import load_generator
    from synthface.manifest import verify
    from synthface.pipeline import render, samples
    from synthface.plan import make_plan
    from synthface.report.html import html_report
    from synthface.report.preview import contact_sheet, preview
    from synthface.shards.labels import labels
    from synthface.shards.reader import open_dataset, shard_urls
    from synthface.spec.loader import load_spec
    from synthface.spec.model import Spec

_HOMES = {
    "Spec": "spec.model",
    "SpecError": "errors",
    "SynthfaceError": "errors",
    "contact_sheet": "report.preview",
    "html_report": "report.html",
    "labels": "shards.labels",
    "load_generator": "generators",
    "load_spec": "spec.loader",
    "make_plan": "plan",
    "open_dataset": "shards.reader",
    "preview": "report.preview",
    "render": "pipeline",
    "samples": "pipeline",
    "shard_urls": "shards.reader",
    "verify": "manifest",
}

__all__ = [
    "Spec",
    "SpecError",
    "SynthfaceError",
    "contact_sheet",
    "html_report",
    "labels",
    "load_generator",
    "load_spec",
    "make_plan",
    "open_dataset",
    "preview",
    "render",
    "samples",
    "shard_urls",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'synthface' has no attribute {name!r}")
    return getattr(importlib.import_module(f"synthface.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
