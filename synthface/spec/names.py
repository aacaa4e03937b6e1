"""The names a spec may use: expression actions and their aliases, light presets, annotations, factors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FACTOR_NAMES = ("pose", "expression", "lighting", "noise")

_BOTH_SIDES = (
    "brow_down",
    "brow_outer_up",
    "cheek_squint",
    "eye_blink",
    "eye_look_down",
    "eye_look_in",
    "eye_look_out",
    "eye_look_up",
    "eye_squint",
    "eye_wide",
    "mouth_dimple",
    "mouth_frown",
    "mouth_lower_down",
    "mouth_press",
    "mouth_smile",
    "mouth_stretch",
    "mouth_upper_up",
    "nose_sneer",
)
_ONE = (
    "brow_inner_up",
    "cheek_puff",
    "jaw_forward",
    "jaw_left",
    "jaw_open",
    "jaw_right",
    "mouth_close",
    "mouth_funnel",
    "mouth_left",
    "mouth_pucker",
    "mouth_right",
    "mouth_roll_lower",
    "mouth_roll_upper",
    "mouth_shrug_lower",
    "mouth_shrug_upper",
    "tongue_out",
)
#: ARKit's 52 blendshapes in snake case. Left and right are the subject's.
ARKIT_ACTIONS: tuple[str, ...] = tuple(
    sorted([*_ONE, *(f"{name}_{side}" for name in _BOTH_SIDES for side in ("left", "right"))])
)


def _both(name: str) -> tuple[str, str]:
    return (f"{name}_left", f"{name}_right")


#: An alias is one leaf that moves several actions by the same amount.
EXPRESSION_ALIASES: dict[str, tuple[str, ...]] = {
    "smile": _both("mouth_smile"),
    "frown": _both("mouth_frown"),
    "blink": _both("eye_blink"),
    "squint": _both("eye_squint"),
    "wide_eyes": _both("eye_wide"),
    "brow_raise": ("brow_inner_up", *_both("brow_outer_up")),
    "brow_lower": _both("brow_down"),
    "cheek_raise": _both("cheek_squint"),
    "sneer": _both("nose_sneer"),
    "dimple": _both("mouth_dimple"),
    "lip_press": _both("mouth_press"),
    "lip_stretch": _both("mouth_stretch"),
    "lower_lip_down": _both("mouth_lower_down"),
    "upper_lip_up": _both("mouth_upper_up"),
    "look_up": _both("eye_look_up"),
    "look_down": _both("eye_look_down"),
    # The subject's left: the left eye turns outwards and the right eye inwards.
    "look_left": ("eye_look_out_left", "eye_look_in_right"),
    "look_right": ("eye_look_in_left", "eye_look_out_right"),
}

#: Label groups that a spec can ask for under `output.annotations`.
ANNOTATIONS: tuple[str, ...] = (
    "landmarks",
    "landmarks_dense",
    "boxes",
    "face_mask",
    "parts",
    "depth",
    "normals",
    "albedo",
    "lambda",
    "gaze",
    "parsing",
)

#: What an audit compares, and how far each may be off by default (None: not looked at); see `quality.residuals` for what they
#: are counted in. Each lets about 0.15 % of faultless renderings fail, over wide poses, side light and strong expressions: see
#: `tests/benchmarks/bench_audit.py`. Of expressions the network that ships reads a few, and these roughly.
AUDIT_LIMITS: dict[str, float | None] = {
    "pose_deg": 6.0,
    "expression": 1.6,
    "lighting": 0.22,
    "landmarks": 0.04,
    "identity": 1.2,
}

#: Values a leaf can take at all, by its path or the end of it, in the spec's units. Angles have room for the far tails
#: of a normal distribution: beyond them lies a slip of the pen.
LEAF_LIMITS: dict[str, tuple[float, float]] = {
    "pose.yaw": (-180.0, 180.0),
    "pose.pitch": (-180.0, 180.0),
    "pose.roll": (-180.0, 180.0),
    "expression": (0.0, 1.0),
    "lighting.ambient": (0.0, 10.0),
    "azimuth": (-360.0, 360.0),
    "elevation": (-180.0, 180.0),
    "intensity": (0.0, 10.0),
    "colour_temperature": (1000.0, 40000.0),
    "rotate": (-360.0, 360.0),
    "jpeg_quality": (1.0, 100.0),
    "blur_px": (0.0, 64.0),
    "gaussian_noise": (0.0, 255.0),
    "resize_px": (4.0, 2048.0),
    "grayscale": (0.0, 1.0),
}


def actions_of(name: str) -> tuple[str, ...]:
    """The actions that an expression name drives: itself, or what the alias stands for."""
    return EXPRESSION_ALIASES.get(name, (name,))


def limits_of(path: str) -> tuple[float, float]:
    """The (low, high) that the leaf at `path` can take at all; unbounded where nothing is known."""
    if path.startswith("expression."):
        return LEAF_LIMITS["expression"]
    return LEAF_LIMITS.get(path) or LEAF_LIMITS.get(path.rpartition(".")[2], (-float("inf"), float("inf")))


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, or None if none is like it."""
    choices = list(allowed)
    folded = {choice.lower().replace("-", "_"): choice for choice in choices}
    found = difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None
