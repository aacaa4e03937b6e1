"""Does identity stay when everything else changes, and are different people told apart?

Every person is drawn once, and again with each nuisance changed: pose, expression, lighting, ε (hair, background), all but ε,
all. A genuine pair is a person's first picture with the changed one; an impostor pair is it with every other person's changed
one. Similarity is the cosine of centred descriptors.

AUC is the chance that a genuine pair is more alike than an impostor pair; EER is the error where both kinds of error are as
frequent. `at_photo_threshold`: the cosine that 0.1 % of pairs of photos of different people exceed, and how the pairs fare
there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.networks.mapping import GROUPS
from training.evaluate.bench import Bench, Unavailable
from training.evaluate.networks import Named, unit_descriptors
from training.evaluate.source import FactorSource

F64 = npt.NDArray[np.float64]

NOISE = "noise"
#: Name to what changes.
NUISANCES = {
    "all": ("expression", "lighting", "pose", NOISE),
    "all but noise": ("expression", "lighting", "pose"),
    "pose": ("pose",),
    "expression": ("expression",),
    "lighting": ("lighting",),
    NOISE: (NOISE,),
}
#: False accepts among photos at the threshold that is reported.
PHOTO_FAR = 0.001
_CURVE_POINTS, _BINS = 101, 40
#: Photos whose pairs set the threshold: eight million pairs.
_MAX_STRANGERS = 4000


def count(bench: Bench) -> int:
    """Pictures to look at."""
    return (1 + len(NUISANCES)) * bench.recipe.identity.num_people + len(bench.networks.recognisers) * bench.num_real


def measure(bench: Bench) -> dict[str, Any]:
    """Verification by every recogniser.

    Raises:
        Unavailable: there is no recogniser.
    """
    bench.require_identity()
    recognisers, num = bench.networks.recognisers, bench.recipe.identity.num_people
    sets = people(bench.source, num, rng=bench.rng("identity"))
    reads = {name: bench.read(vector, noise, recognisers) for name, (vector, noise) in sets.items()}
    figures = {}
    for named in recognisers:
        first = unit_descriptors(reads["first"], named)
        figures[named.name] = {
            "networks": [named.name],
            "nuisances": {name: verification(first @ unit_descriptors(reads[name], named).T) for name in NUISANCES},
            "at_photo_threshold": None,
        }
        try:
            strangers = _strangers(bench, named)
        except Unavailable:
            continue
        threshold = float(np.quantile(strangers, 1 - PHOTO_FAR))
        at: dict[str, Any] = {
            "cosine": threshold,
            "photo_false_accepts": PHOTO_FAR,
            "num_photo_pairs": len(strangers),
            **{name: _at(threshold, first @ unit_descriptors(reads[name], named).T) for name in NUISANCES},
        }
        figures[named.name]["at_photo_threshold"] = at
    return {"num_people": num, "by": figures}


def people(source: FactorSource, num: int, *, rng: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """λ and ε of `num` people, `first` and under each nuisance."""
    first, noise = source.vectors(num, rng=rng), source.noise(num, rng=rng)
    sets = {"first": (first, noise)}
    for name, changed in NUISANCES.items():
        vector, fresh = first.clone(), source.noise(num, rng=rng)
        for group in GROUPS:
            if group in changed:
                vector[:, source.sizes.columns(group)] = source.factor(group, num, rng=rng)
        sets[name] = (vector, fresh if NOISE in changed else noise)
    return sets


def verification(cosines: Tensor) -> dict[str, Any]:
    """Figures of cosines (P, P) of each person's first picture with each person's changed one."""
    genuine, impostor = _pairs(cosines)
    false_accepts, true_accepts = roc(genuine, impostor)
    return {
        "auc": area(genuine, impostor),
        "eer": equal_error_rate(genuine, impostor),
        "num_genuine": len(genuine),
        "num_impostor": len(impostor),
        "genuine_cosine": {"median": float(np.median(genuine)), "p05": float(np.quantile(genuine, 0.05))},
        "impostor_cosine": {"median": float(np.median(impostor)), "p95": float(np.quantile(impostor, 0.95))},
        "roc": {"false_accepts": false_accepts.tolist(), "true_accepts": true_accepts.tolist()},
        "histogram": {
            "edges": [-1.0, 1.0],
            "genuine": np.histogram(genuine, _BINS, (-1, 1))[0].tolist(),
            "impostor": np.histogram(impostor, _BINS, (-1, 1))[0].tolist(),
        },
    }


def area(genuine: F64, impostor: F64) -> float:
    """The share of (genuine, impostor) pairs in which the genuine one scores higher; ties count half."""
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, "left") + np.searchsorted(ordered, genuine, "right")
    return float(below.mean() / (2 * len(impostor)))


def equal_error_rate(genuine: F64, impostor: F64) -> float:
    """The error where false rejects and false accepts cross, between the two thresholds beside the crossing."""
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(thresholds, thresholds[-1] + 1.0)  # where nothing is accepted
    rejects = np.searchsorted(np.sort(genuine), thresholds, "left") / len(genuine)
    accepts = 1.0 - np.searchsorted(np.sort(impostor), thresholds, "left") / len(impostor)
    after = int(np.argmax(rejects >= accepts))
    if after == 0:
        return float((rejects[0] + accepts[0]) / 2)
    gap = accepts - rejects
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(rejects[after - 1] + share * (rejects[after] - rejects[after - 1]))


def roc(genuine: F64, impostor: F64, num: int = _CURVE_POINTS) -> tuple[F64, F64]:
    """False and true accepts (num,) at thresholds that let through evenly spaced shares of impostors."""
    shares = np.linspace(0, 1, num)
    thresholds = np.quantile(impostor, 1 - shares, method="higher")
    accepts = 1.0 - np.searchsorted(np.sort(genuine), thresholds, "left") / len(genuine)
    return shares, accepts


def _strangers(bench: Bench, named: Named) -> F64:
    """Cosines of pairs of photos; each photo is taken to be of another person."""
    unit = unit_descriptors(bench.read_real([named]), named)[:_MAX_STRANGERS]
    rows, columns = np.triu_indices(len(unit), k=1)
    return (unit @ unit.T).numpy()[rows, columns].astype(np.float64)


def _at(threshold: float, cosines: Tensor) -> dict[str, float]:
    genuine, impostor = _pairs(cosines)
    return {"accepted": float((genuine >= threshold).mean()), "falsely": float((impostor >= threshold).mean())}


def _pairs(cosines: Tensor) -> tuple[F64, F64]:
    values = cosines.double().numpy()
    return np.diagonal(values).copy(), values[~np.eye(len(values), dtype=bool)]
