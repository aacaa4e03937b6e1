"""Named arrangements of lights, and what stands in for factors that a spec leaves out. All in the spec's own words."""

from __future__ import annotations

from typing import Any


def _light(azimuth: float, elevation: float, intensity: float, kelvin: float | None = None) -> dict[str, Any]:
    light: dict[str, Any] = {"azimuth": azimuth, "elevation": elevation, "intensity": intensity}
    return light if kelvin is None else {**light, "colour_temperature": kelvin}


#: Portrait photography's classic arrangements. Degrees, kelvin; azimuth > 0 from the image's right.
LIGHT_PRESETS: dict[str, dict[str, Any]] = {
    "frontal": {"ambient": 0.4, "lights": [_light(0, 5, 0.6)]},
    "butterfly": {"ambient": 0.25, "lights": [_light(0, 50, 0.85)]},
    "loop": {"ambient": 0.25, "lights": [_light(35, 30, 0.8)]},
    "rembrandt": {"ambient": 0.15, "lights": [_light(50, 45, 0.9)]},
    "split": {"ambient": 0.1, "lights": [_light(90, 5, 1.0)]},
    "broad": {"ambient": 0.3, "lights": [_light(-40, 20, 0.7), _light(40, 10, 0.25)]},
    "rim": {"ambient": 0.2, "lights": [_light(150, 25, 1.0), _light(-150, 25, 1.0)]},
    "overcast": {"ambient": 0.6, "lights": [_light(0, 80, 0.4, 7000)]},
    "underlight": {"ambient": 0.15, "lights": [_light(0, -50, 0.8)]},
    "sunset": {"ambient": 0.25, "lights": [_light(65, 10, 0.9, 3000), _light(-60, 40, 0.2, 9000)]},
}

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
