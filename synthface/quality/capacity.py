"""How many identities that are apart a generator can make: read off how fast it gets hard to find another.

The more have been taken, the rarer a draw that is far enough from all of them. We fit the chance that one is,

    p(n) = (1 − n / C)^k

to every draw's outcome by maximum likelihood: C is how many fit in at all (where no draw is far enough any more), and k says
how early it gets hard. k = 1 is a world of C separate places, each as likely; less there can't be. Placing balls at random in
d dimensions ends as k = d + 1.
Long before C, tries run out: with `max_tries` draws per identity on average, as many can be reached as

    ∫₀ⁿ dm / p(m) ≤ max_tries · n

allows. That number is what to plan with; C lies far beyond the data unless much of it has been filled.

Source: the end of random sequential placing is Feder 1980, "Random sequential adsorption" (J. Theor. Biol. 87).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synthface.engines.local import in_processes
from synthface.quality import canonical
from synthface.quality.centre import centre_of
from synthface.quality.separation import Apart, unit

if TYPE_CHECKING:
    from synthface.job import Job
    from synthface.pipeline import Progress

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

#: Distances that are reported when the spec names none.
DISTANCES = (0.3, 0.4, 0.5, 0.6)
#: C is looked for up to this; a fit that prefers it says that no end is in sight.
_MOST = 1e9
#: Half of the 95 % quantile of χ² with one degree of freedom: how far the likelihood may fall within an interval.
_FALL = 1.92
#: The fit looks at draws after this share of all has been taken, if so many of them were turned down: (1 − n / C)^k is how it
#: ends, and how it begins is of no interest.
_LATE, _ENOUGH = 0.5, 100


@dataclass(frozen=True)
class Capacity:
    """How many apart identities there are at a distance; intervals are 95 %, `None` is no end in sight.

    Args:
        min_distance: centred recognition distance.
        compared: draws that were looked at.
        taken: how many of them are apart.
        max_tries: draws per identity that `reachable` allows.
        reachable: how many identities those give.
        reachable_low, reachable_high: its interval.
        most: C, how many there are at all.
        most_low, most_high: its interval.
        shape: k.
    """

    min_distance: float
    compared: int
    taken: int
    max_tries: int
    reachable: int | None
    reachable_low: int
    reachable_high: int | None
    most: int | None
    most_low: int
    most_high: int | None
    shape: float


def measure(
    job: Job,
    *,
    distances: Sequence[float] = (),
    tries: int = 500,
    workers: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Capacity]:
    """The capacity of a spec's generator and identity distribution at some distances.

    Args:
        job: the spec met with its generator. Its balance isn't looked at.
        distances: ascending; none: the spec's `min_distance`, or `DISTANCES`.
        tries: draws to look at.
        workers: processes.
        on_progress: told after every few draws.
    """
    import time

    from synthface.pipeline import Progress

    identities = job.spec.identities
    own = DISTANCES if identities.min_distance is None else (identities.min_distance,)
    tile, began = job.info.tile_size, time.monotonic()
    persons = np.arange(tries)
    parts = []
    with in_processes(job, workers) as run:
        for part in run(canonical.describe, [persons[start : start + tile] for start in range(0, tries, tile)]):
            parts.append(part)
            on_progress(Progress(sum(map(len, parts)), tries, time.monotonic() - began, "identities"))
    vectors = unit(np.concatenate(parts), centre_of(job.generator, job.recognition))
    return [estimate(*outcomes(vectors, d), min_distance=d, max_tries=identities.max_tries) for d in distances or own]


def outcomes(vectors: npt.NDArray[np.float32], min_distance: float) -> tuple[I64, npt.NDArray[np.bool_]]:
    """Of each draw (T,): how many had been taken before it, and whether it was far enough from all of them."""
    taken = np.zeros(len(vectors), bool)
    for number in Apart(min_distance, vectors.shape[1]).take(vectors):
        taken[number] = True
    return np.cumsum(taken) - taken, taken


def estimate(before: I64, taken: npt.NDArray[np.bool_], *, min_distance: float, max_tries: int) -> Capacity:
    """Fit p(n) to outcomes (T,).

    Args:
        before: (T,) how many had been taken when a draw came.
        taken: (T,) whether it was, too.
        min_distance: at which distance, for the record.
        max_tries: see `Capacity`.
    """
    num = int(taken.sum())
    accepted = np.bincount(before[taken], minlength=num + 1)
    refused = np.bincount(before[~taken], minlength=num + 1)
    accepted[: _late(refused)], refused[: _late(refused)] = 0, 0
    candidates = num + np.logspace(np.log10(0.25), np.log10(_MOST), 96)
    fits = [_best_shape(accepted, refused, most) for most in candidates]
    likelihood = np.array([value for value, _ in fits])
    within = np.flatnonzero(likelihood >= likelihood.max() - _FALL)
    best, last = int(likelihood.argmax()), len(candidates) - 1
    # A plateau up to the end of the search is an end that the data don't show.
    is_open = likelihood[last] >= likelihood.max() - 0.05
    reached = [_reachable(candidates[n], fits[n][1], max_tries) for n in range(last + 1)]
    high = None if within[-1] == last else candidates[within[-1]]
    has_refusals = not bool(taken.all())
    return Capacity(
        min_distance=min_distance,
        compared=len(taken),
        taken=num,
        max_tries=max_tries,
        reachable=round(reached[best]) if has_refusals else None,
        reachable_low=round(min(reached[n] for n in within)),
        reachable_high=round(max(reached[n] for n in within)) if has_refusals else None,
        most=None if is_open else round(candidates[best]),
        most_low=round(candidates[within[0]]),
        most_high=None if high is None else round(high),
        shape=round(float(fits[best][1]), 2),
    )


def _late(refused: I64) -> int:
    """From how many taken on the fit looks: the end is what matters, as far as there are refusals enough to tell."""
    later = np.cumsum(refused[::-1])[::-1]
    enough = np.flatnonzero(later >= _ENOUGH)
    return int(min(enough[-1], _LATE * len(refused))) if len(enough) else 0


def _best_shape(accepted: I64, refused: I64, most: float) -> tuple[float, float]:
    """The highest log-likelihood for a C, and its k ≥ 1; as C goes to infinity, k goes along so that k / C stays.

    Args:
        accepted, refused: (n + 1,) how many draws were, when 0 … n had been taken.
        most: C.
    """
    from scipy.optimize import minimize_scalar

    log_room = np.log1p(-np.arange(len(accepted)) / most)

    def loss(log_shape: float) -> float:
        log_p = np.minimum(np.exp(log_shape) * log_room, -1e-12)
        return -float(accepted @ log_p + refused @ np.log(-np.expm1(log_p)))

    found = minimize_scalar(loss, bounds=(0.0, 5.0 + np.log(most)), method="bounded", options={"xatol": 1e-3})
    return -float(found.fun), float(np.exp(found.x))


def _reachable(most: float, shape: float, max_tries: int) -> float:
    """The largest n whose tries, ∫ dm / p(m), are at most max_tries · n."""
    low, high = 1e-12, 1.0 - 1e-12
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _tries_each(middle, shape) <= max_tries else (low, middle)
    return low * most


def _tries_each(filled: float, shape: float) -> float:
    """Tries per identity until a share `filled` of C is taken."""
    log_room = np.log1p(-filled)
    if abs(shape - 1.0) < 1e-9:
        return float(-log_room / filled)
    with np.errstate(over="ignore"):
        return float(np.expm1((1.0 - shape) * log_room) / ((shape - 1.0) * filled))


def capacity_text(found: Sequence[Capacity]) -> str:
    """Capacities as a table for people."""
    tries = found[0].max_tries
    lines = [f"distance  compared  apart  with {tries} tries each      at all"]
    for one in found:
        reach = _interval(one.reachable, one.reachable_low, one.reachable_high)
        most = _interval(one.most, one.most_low, one.most_high)
        lines.append(f"{one.min_distance:8.2f}  {one.compared:8d}  {one.taken:5d}  {reach:22s}  {most}")
    return "\n".join(lines)


def _interval(value: int | None, low: int, high: int | None) -> str:
    if value is None:
        return f"more than {_short(low)}"
    return f"{_short(value)} ({_short(low)} to {'?' if high is None else _short(high)})"


def _short(value: int) -> str:
    for size, unit_name in ((1_000_000, " M"), (10_000, " k")):
        if value >= size:
            return f"{value / (1_000_000 if size == 1_000_000 else 1000):.3g}{unit_name}"
    return str(value)
