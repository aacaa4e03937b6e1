"""Random adult heads from MakeHuman's targets: the population that the identity basis is learned from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from training.morphable.makehuman import identity_axes, read_target

F64 = npt.NDArray[np.float64]

REGIONS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "neck", "asym")
_GENDERS, _AGES, _MUSCLES, _WEIGHTS = (
    ("female", "male"),
    ("young", "old"),
    ("min", "average", "max"),
    ("min", "average", "max"),
)
_ANCESTRIES = ("african", "asian", "caucasian")
#: Targets that move or tilt the whole head: the alignment takes them out again. Pointed ears are for elves.
_LEFT_OUT = ("head-trans", "head-angle", "asymm-", "ear-shape-pointed", "head-age")
#: Standard deviation of an axis's coefficient, by region; 1 is the target at full strength, a caricature.
_DEVIATION = {"asym": 0.08, "neck": 0.15, "ears": 0.22, "eyes": 0.20, "head": 0.22, "mouth": 0.20}
_DEFAULT_DEVIATION = 0.24


@dataclass(frozen=True)
class IdentityTargets:
    """Targets on the head: macro (gender, age, build, ancestry) and detail axes.

    Args:
        universal: (2, 2, 3, 3, 3V) by gender, age, muscle, weight.
        ancestry: (3, 2, 2, 3V) by ancestry, gender, age.
        details: (A, 2, 3V) positive and negative end of each axis (zero where one-sided).
        deviation: (A,) of the coefficients.
        one_sided: (A,) axes whose coefficient is never negative.
        twin: (A,) the same number for an axis and its twin on the other side.
    """

    universal: F64
    ancestry: F64
    details: F64
    deviation: F64
    one_sided: npt.NDArray[np.bool_]
    twin: npt.NDArray[np.int64]


def read_identity_targets(folder: Path, matrix: csr_matrix) -> IdentityTargets:
    """Read the targets below `folder` (`mpfb2/targets`) and carry them to the head by `matrix` (V, V_base)."""
    num_base = matrix.shape[1]

    def on_head(path: Path) -> F64:
        return np.asarray(matrix @ read_target(path, num_base)).ravel()

    macro = folder / "macrodetails"
    universal = [
        on_head(macro / f"universal-{g}-{a}-{m}muscle-{w}weight.target.gz")
        for g, a, m, w in product(_GENDERS, _AGES, _MUSCLES, _WEIGHTS)
    ]
    ancestry = [on_head(macro / f"{r}-{g}-{a}.target.gz") for r, g, a in product(_ANCESTRIES, _GENDERS, _AGES)]
    axes = [
        (region, axis)
        for region in REGIONS
        for axis in identity_axes(folder, (region,))
        if not any(word in axis.positive.name for word in _LEFT_OUT)
    ]
    nothing = np.zeros(3 * matrix.shape[0])
    details = [[on_head(a.positive), on_head(a.negative) if a.negative else nothing] for _, a in axes]
    names: dict[str, int] = {}
    return IdentityTargets(
        universal=np.array(universal).reshape(2, 2, 3, 3, -1),
        ancestry=np.array(ancestry).reshape(3, 2, 2, -1),
        details=np.array(details),
        deviation=np.array([_DEVIATION.get(region, _DEFAULT_DEVIATION) for region, _ in axes]),
        one_sided=np.array([axis.negative is None for _, axis in axes]),
        twin=np.array([names.setdefault(axis.twin, len(names)) for _, axis in axes]),
    )


def sample_identities(targets: IdentityTargets, count: int, *, rng: np.random.Generator) -> F64:
    """Displacements (count, 3V) of random adults from the base mesh."""
    gender = _two_way(rng.beta(0.6, 0.6, count))
    age = _two_way(rng.beta(0.8, 2.2, count))
    muscle, weight = (_three_way(np.clip(rng.normal(0, 0.35, count), -1, 1)) for _ in range(2))
    ancestry = rng.dirichlet([0.6] * 3, count)
    macro = np.einsum("ng,na,nm,nw,gamwv->nv", gender, age, muscle, weight, targets.universal, optimize=True)
    macro += np.einsum("nr,ng,na,rgav->nv", ancestry, gender, age, targets.ancestry, optimize=True)
    return macro + _details(targets, count, rng)


def _details(targets: IdentityTargets, count: int, rng: np.random.Generator) -> F64:
    """Detail axes: twins on the two sides share most of their coefficient; faces are nearly symmetric."""
    shared = rng.normal(size=(count, targets.twin.max() + 1))[:, targets.twin]
    own = rng.normal(size=(count, len(targets.twin)))
    coefficients = np.clip((0.98 * shared + 0.2 * own), -2.5, 2.5) * targets.deviation
    coefficients = np.where(targets.one_sided, np.abs(coefficients) * 0.6, coefficients)
    return np.maximum(coefficients, 0) @ targets.details[:, 0] + np.maximum(-coefficients, 0) @ targets.details[:, 1]


def _two_way(share: F64) -> F64:
    return np.stack([1 - share, share], axis=1)


def _three_way(level: F64) -> F64:
    """Weights (N, 3) of minimum, average and maximum for a level in [−1, 1]."""
    return np.stack([np.maximum(-level, 0), 1 - np.abs(level), np.maximum(level, 0)], axis=1)
