"""Figures of verification: are two pictures of one person? A pair is accepted where its score is at least the threshold.

    figures(scores, same, folds)

Source: Huang et al. 2007 (LFW: ten folds, the threshold chosen on the other nine); Grother et al. 2019 (NIST FRVT: TAR at
fixed FAR).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import DatasetError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FARS = (1e-1, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Roc:
    """Shares of impostor pairs (FAR) and of genuine pairs (TAR) accepted at falling thresholds; the first accepts none."""

    far: F64
    tar: F64
    thresholds: F64


def roc(scores: F64, same: Bools) -> Roc:
    """All operating points of scores (P,).

    Raises:
        DatasetError: there are no genuine or no impostor pairs, or a score isn't finite.
    """
    if not same.any() or same.all():
        raise DatasetError(f"{len(same)} pairs, {int(same.sum())} of them genuine; allowed: some of both kinds")
    if not np.isfinite(scores).all():
        raise DatasetError(
            f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores aren't finite; check the network"
        )
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # equal scores are accepted together
    accepted_genuine, accepted = np.cumsum(same[order])[last], last + 1
    tar = np.append(0.0, accepted_genuine / same.sum())
    far = np.append(0.0, (accepted - accepted_genuine) / (~same).sum())
    return Roc(far, tar, np.append(np.inf, falling[last]))


def area(curve: Roc) -> float:
    """AUC: the share of (genuine, impostor) couples in which the genuine pair scores higher; ties count half."""
    return float(np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1]) / 2))


def equal_error_rate(curve: Roc) -> float:
    """Where FAR and 1 − TAR are equal, on the straight line between the operating points about it."""
    gap = curve.far - (1 - curve.tar)
    after = int(np.argmax(gap >= 0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    return float(curve.far[before] + share * (curve.far[after] - curve.far[before]))


def tar_at(curve: Roc, far: float, num_impostors: int) -> float | None:
    """The highest TAR with a FAR of at most `far`; None where the impostor pairs are too few to tell such a FAR from 0."""
    if num_impostors * far < 1:
        return None
    return float(curve.tar[curve.far <= far].max())


def best_threshold(scores: F64, same: Bools) -> float:
    """The threshold of highest accuracy: halfway between two scores."""
    curve = roc(scores, same)
    right = curve.tar * same.sum() + (1 - curve.far) * (~same).sum()
    best = int(np.argmax(right))
    values = curve.thresholds
    if best == 0:
        return float(np.nextafter(values[1], np.inf))
    below = values[best + 1] if best + 1 < len(values) else values[best] - 1
    return float((values[best] + below) / 2)


def fold_thresholds(scores: F64, same: Bools, folds: I64) -> F64:
    """For each pair (P,) the threshold chosen on all folds but its own; on all pairs where there is one fold."""
    result = np.empty(len(scores))
    names = np.unique(folds)
    for fold in names:
        here = folds == fold
        others = ~here if len(names) > 1 else here
        result[here] = best_threshold(scores[others], same[others])
    return result


def figures(scores: F64, same: Bools, folds: I64, *, fars: Sequence[float] = FARS) -> dict[str, Any]:
    """Everything about scores (P,), as JSON takes it.

    Raises:
        DatasetError: see `roc`.
    """
    curve = roc(scores, same)
    thresholds = fold_thresholds(scores, same, folds)
    right = (scores >= thresholds) == same
    by_fold = [float(right[folds == fold].mean()) for fold in np.unique(folds)]
    num_impostors = int((~same).sum())
    return {
        "genuine": int(same.sum()),
        "impostor": num_impostors,
        "accuracy": float(np.mean(by_fold)),
        "accuracy_std": float(np.std(by_fold)),
        "folds": len(by_fold),
        "auc": area(curve),
        "eer": equal_error_rate(curve),
        "tar_at_far": {f"{far:g}": tar_at(curve, far, num_impostors) for far in fars},
        "threshold": float(np.median(thresholds)),
    }


def by_bin(
    scores: F64, same: Bools, thresholds: F64, bins: Mapping[str, Bools], *, least: int = 10
) -> dict[str, dict[str, Any]]:
    """Figures of the pairs in each bin, decided by the same thresholds (P,) as all others.

    `accuracy` is the mean of the shares of genuine and impostor pairs that are decided rightly, so that bins with more of
    one kind can be compared. What rests on fewer than `least` pairs is None.
    """
    result: dict[str, dict[str, Any]] = {}
    for name, inside in bins.items():
        genuine, impostor = inside & same, inside & ~same
        tar = float((scores >= thresholds)[genuine].mean()) if genuine.sum() >= least else None
        far = float((scores >= thresholds)[impostor].mean()) if impostor.sum() >= least else None
        both = tar is not None and far is not None
        result[name] = {
            "genuine": int(genuine.sum()),
            "impostor": int(impostor.sum()),
            "tar": tar,
            "far": far,
            "accuracy": (tar + 1 - far) / 2 if both else None,
            "auc": area(roc(scores[inside], same[inside])) if both else None,
        }
    return result
