"""λ as data: which factors a generator has, and their values for a run of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from synthface.factors.priors import Prior

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SkinColour:
    """The mean colour of reference skin as a function of albedo coefficients: mean + α_t · steps, linear RGB.

    Args:
        mean: (3,).
        steps: (Kt, 3).
        gains: (3, 1 + Kt, Kt) what multiplying red, green or blue does: α_t grows by Σ_c (gain_c − 1) (1, α_t) gains[c].
    """

    mean: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]
    gains: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class AttributeAxis:
    """A named identity attribute with a measured scale, reached by moving along albedo or shape components.

    Setting the attribute overwrites the coefficients in `components`; the others keep their sampled values. Where there is a
    `colour`, the axis is a skin tone of learned albedo and all coefficients follow: see `morphable.tone`.

    Args:
        unit: what `values` are counted in, `degree` say.
        values: (K,) attribute values, strictly increasing; the first and last are the attribute's allowed range.
        coefficients: (K, C) coefficients that give those values; linear in between.
        space: which coefficients: `albedo` or `shape`.
        components: (C,) the indices they go to.
        colour: for skin tones, what they are read off exactly; others are read off their first component.
    """

    unit: str
    values: npt.NDArray[np.float64]
    coefficients: npt.NDArray[np.float64]
    space: str
    components: tuple[int, ...]
    colour: SkinColour | None = None


@dataclass(frozen=True)
class FactorLayout:
    """The sizes and names of λ and ε: all that planning and sampling must know of a generator.

    Args:
        num_shape: Ks, identity coefficients of geometry, each of unit variance.
        num_albedo: Kt, identity coefficients of skin colour, each of unit variance.
        expression_names: the Ke named actions, ARKit's in snake case for the default model; coefficients in [0, 1].
        num_noise: size of ε.
        attributes: identity attributes that a spec can ask for by name.
        trusted_ranges: factor path in the spec's language (`pose.yaw`, degrees) to the range the generator was trained
            for; outside it a spec warns. Empty means everywhere.
        priors: factor (`identity`, `expression`, `lighting`, `pose`) to its learned prior, where it has one (a λ-VAE).
    """

    num_shape: int
    num_albedo: int
    expression_names: tuple[str, ...]
    num_noise: int = 32
    attributes: Mapping[str, AttributeAxis] = field(default_factory=dict)
    trusted_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    priors: Mapping[str, Prior] = field(default_factory=dict)

    @property
    def num_expression(self) -> int:
        """Ke, the number of named actions."""
        return len(self.expression_names)


@dataclass(frozen=True)
class FactorBatch:
    """λ and ε of N samples. Every array's first axis is the sample.

    Args:
        shape: (N, Ks) identity coefficients of geometry α_s, in standard deviations.
        albedo: (N, Kt) identity coefficients of skin colour α_t, in standard deviations.
        expression: (N, Ke) named actions β in [0, 1].
        sh: (N, 3, 9) lighting γ: per channel R, G, B the nine SH coefficients, full (no offset), camera frame.
        pose_rad: (N, 3) rotations about x, y, z: pitch, yaw, roll, in radians; see `factors.pose`.
        noise: (N, E) ε, standard normal.
    """

    shape: FloatArray
    albedo: FloatArray
    expression: FloatArray
    sh: FloatArray
    pose_rad: FloatArray
    noise: FloatArray

    def __len__(self) -> int:
        return len(self.pose_rad)

    def __getitem__(self, rows: Any) -> FactorBatch:
        """The samples `rows` (a slice or an index array), as a batch."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def concatenate(batches: list[FactorBatch]) -> FactorBatch:
        """Several batches end to end."""
        return FactorBatch(
            **{f.name: np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(FactorBatch)}
        )

    @staticmethod
    def neutral(layout: FactorLayout, num_samples: int) -> FactorBatch:
        """The mean face, looking at the camera under white ambient light of intensity 1."""
        sh = np.zeros((num_samples, 3, 9), np.float32)
        sh[:, :, 0] = 1.0 / (np.pi * 0.28209479177387814)
        zeros = {
            "shape": layout.num_shape,
            "albedo": layout.num_albedo,
            "expression": layout.num_expression,
            "pose_rad": 3,
            "noise": layout.num_noise,
        }
        return FactorBatch(sh=sh, **{name: np.zeros((num_samples, size), np.float32) for name, size in zeros.items()})
