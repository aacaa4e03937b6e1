"""Equal numbers per bin of an identity attribute: quotas, what to keep when a bin stays short, and an order that keeps
every split balanced. Pure NumPy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synthface.plan import quotas
from synthface.seeding import uniforms
from synthface.spec.model import Balance

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def bins_of(values: npt.NDArray[np.floating], edges: tuple[float, ...]) -> I64:
    """The bin (N,) of values (N,): [edge, next edge), the last one closed; −1 outside."""
    bins = np.searchsorted(np.asarray(edges), values, side="right") - 1
    bins[values == edges[-1]] = len(edges) - 2
    bins[bins > len(edges) - 2] = -1
    return bins.astype(np.int64)


class Quotas:
    """How many are still wanted of each bin.

    Args:
        num_bins: B; 1 where nothing is to be balanced.
        count: how many in all, shared equally.
    """

    def __init__(self, num_bins: int, count: int) -> None:
        self.asked = np.array(list(quotas({str(b): 1.0 for b in range(num_bins)}, count).values()), np.int64)
        self.found = np.zeros(num_bins, np.int64)

    @property
    def missing(self) -> int:
        """How many are still to be found."""
        return int((self.asked - self.found).sum())

    def is_open(self, bins: I64) -> npt.NDArray[np.bool_]:
        """Whether more are wanted of bins (N,); none are of −1."""
        return (bins >= 0) & (self.found < self.asked)[bins]

    def wants(self, bin_number: int) -> bool:
        """Whether one more is wanted of a bin."""
        return bin_number >= 0 and bool(self.found[bin_number] < self.asked[bin_number])

    def add(self, bin_number: int) -> None:
        """Count one."""
        self.found[bin_number] += 1

    def take(self, bins: I64) -> I64:
        """Which of bins (N,) still fit in, first come first served; they are counted."""
        taken = []
        for number in np.flatnonzero(self.found < self.asked):
            mine = np.flatnonzero(bins == number)[: self.asked[number] - self.found[number]]
            self.found[number] += len(mine)
            taken.append(mine)
        return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)


def balanced_counts(found: I64, tolerance: float) -> I64:
    """How many (B,) to keep of each bin so that shares are equal within the tolerance, as many as possible.

    A share may differ from 1 / B by `tolerance`, a number from its part by one in any case.

    Args:
        found: (B,) how many there are.
        tolerance: allowed deviation of a share.
    """
    total = int(found.sum())
    while total > 0 and not _is_balanced(found, total, tolerance):
        total = min(total - 1, max(_by_tolerance(found, tolerance, total), _by_rounding(found)))
    return _levelled(found, total)


def _by_tolerance(found: I64, tolerance: float, total: int) -> int:
    """How many the rarest bin allows when its share may be too low by the tolerance."""
    least_share = 1.0 / len(found) - tolerance
    return int(found.min() / least_share + 1e-6) if least_share > 1e-9 else total


def _by_rounding(found: I64) -> int:
    """How many can be kept when every number may be one off its part."""
    return int(found.min() + 1) * len(found)


def _allowed(num_bins: int, total: int, tolerance: float) -> tuple[int, int]:
    slack = max(tolerance * total, 1.0 - 1e-6)
    part = total / num_bins
    return max(0, int(np.ceil(part - slack - 1e-9))), int(np.floor(part + slack + 1e-9))


def _is_balanced(found: I64, total: int, tolerance: float) -> bool:
    low, high = _allowed(len(found), total, tolerance)
    return bool(found.min() >= low and np.minimum(found, high).sum() >= total)


def _levelled(found: I64, total: int) -> I64:
    """Numbers (B,) that sum to `total`, as equal as those found allow: the fullest bins give up what is too much."""
    low, high = 0, int(found.max(initial=0))
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if np.minimum(found, middle).sum() < total else (low, middle)
    kept = np.minimum(found, low)
    level = np.flatnonzero(kept == low)
    excess = int(kept.sum()) - total
    if excess:
        kept[level[len(level) - excess :]] -= 1
    return kept


def spread_order(seed: int, persons: I64, bins: I64) -> I64:
    """An order (N,) in which any run of identities is a fair sample: keyed, and bins side by side in equal measure.

    Splits are runs of identities. Who is taken late in a choice is unusual (nearest to nobody, or of a rare bin), so the order
    of taking won't do.

    Args:
        seed: the spec's.
        persons: (N,) numbers of draws, the key.
        bins: (N,) of each.
    """
    if not len(persons):
        return np.empty(0, np.int64)
    u = uniforms(seed, "identities/order", persons)[:, 0]
    place = np.empty(len(persons))
    num_bins = int(bins.max()) + 1
    for number in range(num_bins):
        mine = np.flatnonzero(bins == number)
        rank = np.empty(len(mine))
        rank[np.argsort(u[mine], kind="stable")] = np.arange(len(mine))
        place[mine] = (rank + (number + 0.5) / num_bins) / max(len(mine), 1)
    return np.argsort(place, kind="stable").astype(np.int64)


def bin_names(balance: Balance) -> list[str]:
    """Names of the bins, for people: `-30 to 10`."""
    return [f"{low:g} to {high:g}" for low, high in zip(balance.edges, balance.edges[1:], strict=False)]
