"""Bins of pairs by what their labels say: how far is the head turned, where does the light come from, how light is the skin?

An angle's bin is that of the pair's larger angle: a pair is as hard as its harder picture. Skin tone belongs to a person: a
pair is in a bin where both are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Binning:
    """How pairs are sorted by one label.

    Args:
        column: the label.
        edges: ascending; a bin holds its lower edge, the last one both.
        rule: `larger`: by the larger absolute value of the two; `both`: where both lie in it.
    """

    column: str
    edges: tuple[float, ...]
    rule: Literal["larger", "both"]


#: Skin tones' edges are those of Chardon's ITA classes.
BINNINGS = (
    Binning("yaw_deg", (0, 10, 20, 30, 45, 60, 90), "larger"),
    Binning("light_azimuth_deg", (0, 15, 30, 45, 60, 90, 180), "larger"),
    Binning("skin_tone_ita_deg", (-90, -30, 10, 28, 41, 55, 90), "both"),
)


def bins(labels: Mapping[str, F64], a: I64, b: I64, binning: Binning) -> dict[str, Bools]:
    """Name of each bin to which pairs (P,) are in it; `a` and `b` (P,) point into the labels (N,)."""
    values = labels[binning.column]
    first, second = values[a], values[b]
    if binning.rule == "larger":
        first = second = np.maximum(np.abs(first), np.abs(second))
    result = {}
    for low, high in zip(binning.edges[:-1], binning.edges[1:], strict=True):
        top = high == binning.edges[-1]
        inside = [(low <= side) & ((side <= high) if top else (side < high)) for side in (first, second)]
        result[f"{low:g}…{high:g}"] = inside[0] & inside[1]
    return result
