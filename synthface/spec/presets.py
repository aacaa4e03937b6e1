"""Named arrangements of lights, and what stands in for factors that a spec leaves out. All in the spec's own words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synthface.factors.lighting import PRESETS


def _rig(ambient: float, lights: Sequence[tuple[float, float, float, float | None]]) -> dict[str, Any]:
    names = ("azimuth", "elevation", "intensity", "colour_temperature")
    described = [{k: v for k, v in zip(names, light, strict=True) if v is not None} for light in lights]
    return {"ambient": ambient, "lights": described}


#: Preset to its ambient light and lights.
LIGHT_PRESETS: dict[str, dict[str, Any]] = {name: _rig(*preset) for name, preset in PRESETS.items()}

#: Stands in for a whole factor that the spec leaves out, where the generator has no prior for it.
FACTOR_DEFAULTS: dict[str, Any] = {
    "pose": {
        "yaw": {"normal": {"mean": 0, "std": 12, "low": -40, "high": 40}},
        "pitch": {"normal": {"mean": 0, "std": 6, "low": -20, "high": 20}},
        "roll": {"normal": {"mean": 0, "std": 3, "low": -10, "high": 10}},
    },
    "expression": {
        "mixture": [
            {"weight": 3, "neutral": True},
            {"weight": 3, "named": {"smile": {"uniform": [0.2, 0.8]}}},
            {"weight": 1, "named": {"jaw_open": {"uniform": [0.1, 0.5]}}},
            {"weight": 1, "named": {"brow_raise": {"uniform": [0.2, 0.7]}}},
            {"weight": 1, "named": {"frown": {"uniform": [0.2, 0.7]}, "brow_lower": {"uniform": [0.1, 0.6]}}},
        ]
    },
    "lighting": {
        "frame": "camera",
        "ambient": {"uniform": [0.35, 0.65]},
        "lights": [
            {
                "azimuth": {"normal": {"mean": 0, "std": 40, "low": -90, "high": 90}},
                "elevation": {"normal": {"mean": 20, "std": 15, "low": -10, "high": 70}},
                "intensity": {"uniform": [0.3, 0.8]},
            }
        ],
    },
}

#: Stands in for single leaves left out of a factor that the spec does give.
LEAF_DEFAULTS: dict[str, Any] = {
    "pose.yaw": FACTOR_DEFAULTS["pose"]["yaw"],
    "pose.pitch": FACTOR_DEFAULTS["pose"]["pitch"],
    "pose.roll": FACTOR_DEFAULTS["pose"]["roll"],
    "lighting.ambient": 0.4,
    "lighting.environment.rotate": 0,
    "lighting.environment.intensity": 1,
}
