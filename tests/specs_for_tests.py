"""Small specs that tests build on."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from synthface.factors.types import FactorLayout
from synthface.morphable.basis import MorphableBasis
from synthface.plan import Plan, make_plan
from synthface.spec.layout import resolve
from synthface.spec.loader import load_spec


@lru_cache(maxsize=1)
def bundled_layout() -> FactorLayout:
    """The bundled morphable model's."""
    return MorphableBasis.load().layout()


def tiny(**changes: Any) -> dict[str, Any]:
    """Eight images of 32 px in two splits."""
    spec: dict[str, Any] = {
        "version": 1,
        "name": "tiny",
        "seed": 7,
        "identities": {"count": 4},
        "images_per_identity": 2,
        "splits": {"train": 0.75, "test": 0.25},
        "output": {"image": {"size": 32}, "shards": {"samples": 4}},
    }
    return {**spec, **changes}


def plan_of(**changes: Any) -> Plan:
    """The plan of `tiny` with changes, for the bundled layout."""
    return make_plan(resolve(load_spec(tiny(**changes)), bundled_layout()), bundled_layout(), tile_size=4)
