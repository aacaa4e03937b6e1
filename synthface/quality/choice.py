"""Which draws become a dataset's identities: those far enough from each other, in equal numbers per bin of an attribute.

Draws are gone through in their order, 0, 1, 2, …; one is taken if its bin still wants one and f_id finds it far enough from
all taken before. So the choice depends on the spec and the generator alone, and a dataset with more identities holds the
people of one with fewer. What costs is drawing the standard pictures: that is done ahead, in blocks, by any number of workers,
and each block can be kept. When the tries run out, fewer are made, and the report says so: no promise is bent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from synthface.engines.local import Runner, in_processes
from synthface.errors import IdentityError
from synthface.identities import ChosenIdentities, attribute_of
from synthface.quality import canonical
from synthface.quality.balance import Quotas, balanced_counts, bin_names, bins_of, spread_order
from synthface.quality.centre import centre_of
from synthface.quality.separation import Apart, unit
from synthface.spec.model import Spec

if TYPE_CHECKING:
    from synthface.job import Job
    from synthface.pipeline import Progress

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: Draws whose bin is looked up at once where nothing must be drawn for it.
_SCAN = 65_536
#: Draws described ahead at most: a killed run loses no more than that.
_MAX_BLOCK = 1024
#: Points of the acceptance curve that the report keeps.
_CURVE = 100


class Parts(Protocol):
    """Where described blocks are kept, so that a killed choice goes on."""

    def load(self, number: int, persons: I64) -> F32 | None:
        """The raw descriptors of block `number`, or None where it isn't there or is of other draws."""

    def save(self, number: int, persons: I64, descriptors: F32) -> None:
        """Keep them."""


class NoParts:
    """Nowhere."""

    def load(self, number: int, persons: I64) -> F32 | None:
        """Nothing is there."""
        return None

    def save(self, number: int, persons: I64, descriptors: F32) -> None:
        """Nothing is kept."""


def is_choice(spec: Spec) -> bool:
    """Whether identities are chosen among more draws than are needed."""
    return spec.identities.min_distance is not None or spec.identities.balance is not None


def needs_descriptors(spec: Spec) -> bool:
    """Whether f_id must have seen every identity."""
    audit = spec.quality.audit
    return spec.identities.min_distance is not None or (audit is not None and "identity" in audit.limits)


def choose(
    job: Job,
    *,
    count: int | None = None,
    workers: int = 1,
    parts: Parts | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> ChosenIdentities:
    """The identities of a spec.

    Args:
        job: the spec met with its generator.
        count: how many; None is what the spec asks for.
        workers: processes that draw standard pictures; the choice doesn't depend on it.
        parts: where to keep what has been described.
        on_progress: told after every few draws.

    Raises:
        IdentityError: none could be found, or a bin of the balance is out of reach.
    """
    from synthface.pipeline import Progress

    choice = _Choice(job, count or job.spec.identities.count)
    began = time.monotonic()

    def report() -> None:
        on_progress(Progress(len(choice.persons), choice.count, time.monotonic() - began, "identities"))

    if not needs_descriptors(job.spec):
        for _ in choice.by_bins():
            report()
        return choice.result()
    with in_processes(job, workers) as run:
        describe = _Describer(job, run, parts or NoParts())
        steps = choice.by_distance if job.spec.identities.min_distance is not None else choice.then_described
        for _ in steps(describe):
            report()
    return choice.result()


class _Describer:
    """Draws to raw descriptors, block by block; kept blocks aren't made again."""

    def __init__(self, job: Job, run: Runner, parts: Parts) -> None:
        self._run, self._parts, self._tile = run, parts, job.info.tile_size
        self._number = 0

    def __call__(self, persons: I64) -> F32:
        number, self._number = self._number, self._number + 1
        known = self._parts.load(number, persons)
        if known is not None:
            return known
        tiles = [persons[start : start + self._tile] for start in range(0, len(persons), self._tile)]
        made = np.concatenate(list(self._run(canonical.describe, tiles)))
        self._parts.save(number, persons, made)
        return made


class _Choice:
    """The state of a choice.

    Args:
        job: the spec met with its generator.
        count: how many identities.
    """

    def __init__(self, job: Job, count: int) -> None:
        self.job, self.count = job, count
        self._identities = job.spec.identities
        balance = self._identities.balance
        self._quotas = Quotas(1 if balance is None else len(balance.edges) - 1, count)
        self.persons: list[int] = []
        self._bins: list[int] = []
        self._drawn, self._compared = 0, 0
        self._max_drawn = 2**39 if balance is None else count * balance.max_tries
        self._max_compared = count * self._identities.max_tries
        self._curve: list[tuple[int, int]] = []
        self._apart: Apart | None = None
        self._centre: F32 | None = None
        self._vectors: F32 | None = None

    # ---------------------------------------------------------------------------------------------------- without f_id

    def by_bins(self) -> Iterator[None]:
        """First come, first served per bin."""
        while self._quotas.missing and self._drawn < self._max_drawn:
            persons = np.arange(self._drawn, min(self._drawn + _SCAN, self._max_drawn))
            bins = self._bins_of(persons)
            taken = self._quotas.take(bins)
            self.persons += persons[taken].tolist()
            self._bins += bins[taken].tolist()
            self._drawn = int(persons[taken[-1]] if len(taken) and not self._quotas.missing else persons[-1]) + 1
            yield

    def _bins_of(self, persons: I64) -> I64:
        balance = self._identities.balance
        if balance is None:
            return np.zeros(len(persons), np.int64)
        return bins_of(attribute_of(self.job.spec, self.job.info.layout, balance.by, persons), balance.edges)

    # ------------------------------------------------------------------------------------------------------- with f_id

    def by_distance(self, describe: Callable[[I64], F32]) -> Iterator[None]:
        """Those whose bin wants one and that are far enough from all before, block by block."""
        assert self._identities.min_distance is not None
        self._centre = centre_of(self.job.generator, self.job.recognition)
        self._apart = Apart(self._identities.min_distance, len(self._centre))
        size = self._block_size()
        while self._quotas.missing and self._compared < self._max_compared:
            persons, bins = self._next_block(size)
            if not len(persons):
                return
            vectors = unit(describe(persons), self._centre)
            for number in self._apart.take(vectors, partial(self._compares, bins)):
                self.persons.append(int(persons[number]))
                self._bins.append(int(bins[number]))
                self._quotas.add(int(bins[number]))
            self._curve.append((self._compared, len(self.persons)))
            yield

    def _block_size(self) -> int:
        """Whole tiles; small choices look ahead less. Blocks follow one another, so the size decides no tile."""
        tile = self.job.info.tile_size
        return max(1, min(_MAX_BLOCK, max(tile, self.count // 8)) // tile) * tile

    def _next_block(self, size: int) -> tuple[I64, I64]:
        """The next draws (≤ size) whose bins want some, and their bins."""
        persons: list[I64] = []
        bins: list[I64] = []
        room = size
        step = size if self._identities.balance is None else _SCAN
        while room and self._drawn < self._max_drawn:
            some = np.arange(self._drawn, min(self._drawn + step, self._max_drawn))
            their = self._bins_of(some)
            wanted = np.flatnonzero(self._quotas.is_open(their))[:room]
            room -= len(wanted)
            self._drawn = int(some[wanted[-1]] if not room else some[-1]) + 1
            persons.append(some[wanted])
            bins.append(their[wanted])
        empty = np.empty(0, np.int64)
        return np.concatenate([empty, *persons]), np.concatenate([empty, *bins])

    def _compares(self, bins: I64, number: int) -> bool:
        if self._compared >= self._max_compared or not self._quotas.wants(int(bins[number])):
            return False
        self._compared += 1
        return True

    # ------------------------------------------------------------------------------------------- without f_id, but for it

    def then_described(self, describe: Callable[[I64], F32]) -> Iterator[None]:
        """All that the bins take, described for others' use: however near they are."""
        self._centre = centre_of(self.job.generator, self.job.recognition)
        for _ in self.by_bins():
            pass
        size, parts = self._block_size(), []
        for start in range(0, len(self.persons), size):
            parts.append(unit(describe(np.array(self.persons[start : start + size], np.int64)), self._centre))
            yield
        self._vectors = np.concatenate(parts)

    # ---------------------------------------------------------------------------------------------------------- result

    def result(self) -> ChosenIdentities:
        """What was chosen, in an order that makes every run of identities a fair sample."""
        persons, bins = np.array(self.persons, np.int64), np.array(self._bins, np.int64)
        kept = self._kept(bins)
        if not len(kept):
            raise IdentityError(f"{self._name()}: no identities could be found: {self._advice()}")
        order = kept[spread_order(self.job.spec.seed, persons[kept], bins[kept])] if is_choice(self.job.spec) else kept
        if self._apart is None:
            vectors = None if self._vectors is None else self._vectors[order]
            return ChosenIdentities(persons[order], vectors, None, self._report(bins[order], None))
        vectors = self._apart.vectors[order]
        is_whole = len(order) == len(persons)
        nearest = self._apart.nearest_distance()[order] if is_whole else _nearest_distance(vectors)
        return ChosenIdentities(persons[order], vectors, nearest, self._report(bins[order], nearest))

    def _kept(self, bins: I64) -> I64:
        """Which of those taken stay: all, or those that leave shares equal where a bin stayed short."""
        balance = self._identities.balance
        if balance is None or not self._quotas.missing:
            return np.arange(len(bins))
        empty = np.flatnonzero((self._quotas.found == 0) & (self._quotas.asked > 0))
        if len(empty):
            name = bin_names(balance)[int(empty[0])]
            raise IdentityError(
                f"{self._name()}: balance: none of {self._drawn} draws has {balance.by} {name}"
                f"{' and is far enough from the others' if self._apart is not None else ''}; give "
                f"`attributes: {{{balance.by}: {{uniform: [{balance.edges[0]:g}, {balance.edges[-1]:g}]}}}}`, "
                "other edges, or more tries"
            )
        counts = balanced_counts(self._quotas.found, balance.tolerance)
        return np.sort(np.concatenate([np.flatnonzero(bins == b)[:count] for b, count in enumerate(counts)]))

    def _name(self) -> str:
        return self.job.spec.source.file or self.job.spec.name

    def _advice(self) -> str:
        return "lower identities.min_distance, widen balance.edges, or raise max_tries"

    def _report(self, bins: I64, nearest: F32 | None) -> dict[str, Any]:
        report: dict[str, Any] = {"asked": self.count, "found": len(bins), "drawn": self._drawn}
        balance = self._identities.balance
        if balance is not None:
            counts = np.bincount(bins, minlength=len(balance.edges) - 1).tolist()
            report["balance"] = {
                "by": balance.by,
                "edges": list(balance.edges),
                "tolerance": balance.tolerance,
                "asked": self._quotas.asked.tolist(),
                "found": counts,
            }
        if nearest is not None:
            report["separation"] = {
                "min_distance": self._identities.min_distance,
                "compared": self._compared,
                "nearest": float(nearest.min()),
                "nearest_median": float(np.median(nearest)),
                "acceptance": _thinned(self._curve),
            }
        if self._centre is not None:
            report["recognition"] = {
                "name": self.job.recognition.config.name,
                "sha256": canonical.recognition_digest(self.job.recognition),
                "centre": [float(value) for value in self._centre],
            }
        return report


def _nearest_distance(vectors: F32) -> F32:
    """(N,) the distance of each to the nearest other of these."""
    apart = Apart(0.0, vectors.shape[1])
    assert len(list(apart.take(vectors))) == len(vectors)
    return apart.nearest_distance()


def _thinned(curve: list[tuple[int, int]]) -> list[list[int]]:
    """At most `_CURVE` points, the last among them."""
    step = -(-len(curve) // _CURVE) or 1
    return [list(point) for point in curve[::-1][::step][::-1]]


def shortfall(report: Mapping[str, Any]) -> str | None:
    """In words what a choice's report lacks; None where nothing."""
    if report["found"] >= report["asked"]:
        return None
    why = []
    if "separation" in report:
        why.append(
            f"{report['separation']['compared']} draws compared at distance {report['separation']['min_distance']:g}"
        )
    if "balance" in report:
        why.append(f"{report['drawn']} drawn for the balance of {report['balance']['by']}")
    return (
        f"{report['found']} of {report['asked']} identities could be found ({', '.join(why)}); the dataset has as many"
    )
