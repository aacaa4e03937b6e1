"""Write the golden files anew: `python -m tests.golden.remake`. A change here changes everybody's datasets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from synthface.sampling import sample
from synthface.seeding import bits
from tests.specs_for_tests import plan_of

HERE = Path(__file__).parent


def streams() -> list[dict[str, object]]:
    """Words of some streams."""
    cases = [(0, "pose.yaw", [0, 1, 2**40]), (2026, "default/noise", [5]), (2**31 - 1, "identity.shape", [0, 99])]
    return [
        {
            "seed": seed,
            "stream": stream,
            "index": index,
            "words": [[f"{word:016x}" for word in row] for row in bits(seed, stream, np.array(index), 3).tolist()],
        }
        for seed, stream, index in cases
    ]


def samples() -> dict[str, list[float]]:
    """Labels of the tiny spec's first rows."""
    drawn = sample(plan_of(), np.arange(4))
    names = (
        "yaw_deg",
        "pitch_deg",
        "roll_deg",
        "ambient",
        "light0_azimuth_deg",
        "expression_mouth_smile_left",
        "skin_tone_ita_deg",
    )
    result = {name: [float(v) for v in drawn.columns[name]] for name in names}
    return {**result, "shape0": drawn.factors.shape[:, 0].tolist(), "noise0": drawn.factors.noise[:, 0].tolist()}


if __name__ == "__main__":
    (HERE / "streams.json").write_text(json.dumps(streams(), indent=1) + "\n")
    (HERE / "samples.json").write_text(json.dumps(samples(), indent=1) + "\n")
