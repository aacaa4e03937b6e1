"""Which image is which: identity, condition, split and shard of every row, by arithmetic.

Nothing here grows with the dataset: a plan of ten million rows is as small as one of ten. Row i of the dataset is decided
by (spec, i) alone.

Rows are numbered in the order they are written: split by split, in each split identity by identity (or, with
`output.shards.order: shuffled`, in a keyed random order), in each identity condition by condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from synthface.columns import Column
from synthface.factors.types import FactorLayout
from synthface.identities import IdentityTable
from synthface.seeding import Permutation
from synthface.spec.model import Condition, Spec

I64 = npt.NDArray[np.int64]

KEY_DIGITS = 9


@dataclass(frozen=True)
class ShardPlan:
    """Rows `start` to `stop` (exclusive), all of one split, go into shard `number` of that split."""

    split: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The shard's file name without its ending."""
        return f"{self.split}-{self.number:06d}"

    @property
    def count(self) -> int:
        """Number of samples."""
        return self.stop - self.start


@dataclass(frozen=True)
class Rows:
    """What is planned for N rows.

    Args:
        index: (N,) row number in the dataset.
        identity: (N,) identity number.
        image: (N,) number of the image within its identity.
        stratum: (N,) index into `Plan.strata`.
        within: (N,) number of the image within its identity and stratum.
        split: (N,) index into `Plan.splits`.
        person: (N,) the number of the draw that the identity is: what its streams are keyed by. The identity's own number,
            unless identities were chosen among more.
    """

    index: I64
    identity: I64
    image: I64
    stratum: I64
    within: I64
    split: I64
    person: I64

    @property
    def key(self) -> I64:
        """(N,) what image streams are keyed by: person and number within the stratum, so that neither more identities,
        more images nor another condition changes an image that was there before."""
        return (self.person << 24) | self.within


@dataclass(frozen=True)
class Split:
    """A split's name, its identities and its rows, as ranges."""

    name: str
    first_identity: int
    last_identity: int
    start: int
    stop: int


class Shards(Sequence[ShardPlan]):
    """All shards of a plan, in order, made when asked for."""

    def __init__(self, splits: Sequence[Split], samples: int) -> None:
        self._splits = splits
        self._samples = samples
        counts = [-(-(split.stop - split.start) // samples) for split in splits]
        self._ends = np.cumsum(counts).tolist()

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> ShardPlan: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[ShardPlan]: ...
    def __getitem__(self, number: int | slice) -> ShardPlan | Sequence[ShardPlan]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        number = number + len(self) if number < 0 else number
        if not 0 <= number < len(self):
            raise IndexError(number)
        which = int(np.searchsorted(self._ends, number, side="right"))
        split, within = self._splits[which], number - (self._ends[which - 1] if which else 0)
        start = split.start + within * self._samples
        return ShardPlan(split.name, within, start, min(start + self._samples, split.stop))

    def __iter__(self) -> Iterator[ShardPlan]:
        return (self[n] for n in range(len(self)))


@dataclass(frozen=True)
class Plan:
    """A spec laid out as rows. Made by `make_plan`.

    A spec whose identities must be apart or balanced has `persons` (I,) once they are chosen: the draw that each is. Before
    that, the plan is of the first draws as they come.
    """

    spec: Spec
    layout: FactorLayout
    splits: tuple[Split, ...]
    samples_per_shard: int
    reused: IdentityTable | None = None
    persons: I64 | None = None

    @property
    def strata(self) -> tuple[Condition, ...]:
        """The conditions that images are drawn from; one called `default` where the spec has none."""
        return self.spec.strata

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Images per identity of each stratum."""
        if self.spec.design.kind == "one_factor":
            return (sum(self.spec.images_per_identity.values()),)
        return tuple(self.spec.images_per_identity[stratum.name] for stratum in self.strata)

    @property
    def images_per_identity(self) -> int:
        """Over all strata."""
        return sum(self.counts)

    @property
    def num_identities(self) -> int:
        """Number of identities: as many as asked for, or as many as could be found."""
        return self.spec.identities.count if self.persons is None else len(self.persons)

    @property
    def num_images(self) -> int:
        """Number of rows."""
        return self.num_identities * self.images_per_identity

    @cached_property
    def shards(self) -> Shards:
        """All shards, in order."""
        return Shards(self.splits, self.samples_per_shard)

    @cached_property
    def _orders(self) -> tuple[Permutation, ...] | None:
        if self.spec.output.shards.order != "shuffled":
            return None
        return tuple(Permutation(self.spec.seed, f"order/{s.name}", s.stop - s.start) for s in self.splits)

    def rows(self, index: npt.ArrayLike) -> Rows:
        """What is planned for rows `index` (N,); each in [0, num_images)."""
        index = np.asarray(index, np.int64)
        split = np.searchsorted([s.stop for s in self.splits], index, side="right").astype(np.int64)
        logical = index
        if self._orders is not None:
            logical = index.copy()
            for number, (order, part) in enumerate(zip(self._orders, self.splits, strict=True)):
                mine = split == number
                logical[mine] = part.start + order(index[mine] - part.start)
        identity, image = np.divmod(logical, self.images_per_identity)
        ends = np.cumsum(self.counts)
        stratum = np.searchsorted(ends, image, side="right").astype(np.int64)
        within = image - np.concatenate([[0], ends])[stratum]
        person = identity if self.persons is None else self.persons[identity]
        return Rows(index, identity, image, stratum, within, split, person)

    def row_of(self, logical: I64) -> I64:
        """Row numbers (N,) of images counted identity by identity: the same unless the plan is shuffled."""
        if self._orders is None:
            return logical
        result = logical.copy()
        for order, part in zip(self._orders, self.splits, strict=True):
            mine = (logical >= part.start) & (logical < part.stop)
            result[mine] = part.start + order.inverse(logical[mine] - part.start)
        return result

    def columns(self) -> tuple[Column, ...]:
        """Every column that sampling emits: what is known of a sample before there is a picture."""
        from synthface.sampling import columns_of

        return columns_of(self)


def make_plan(
    spec: Spec,
    layout: FactorLayout,
    *,
    tile_size: int = 1,
    reused: IdentityTable | None = None,
    persons: I64 | None = None,
) -> Plan:
    """Lay a resolved spec out as rows.

    Args:
        spec: checked against `layout`, no factor left out.
        layout: of the generator that will render it.
        tile_size: K; a shard holds a multiple of it, so that tiles never straddle shards.
        reused: the identities of an earlier dataset, where the spec asks for them.
        persons: (I,) the draws that were chosen as identities, where the spec asks for a choice.
    """
    per_identity = sum(spec.images_per_identity.values())
    splits, identity = [], 0
    for name, count in quotas(spec.splits, spec.identities.count if persons is None else len(persons)).items():
        if count:
            stop = identity + count
            splits.append(Split(name, identity, stop, identity * per_identity, stop * per_identity))
            identity = stop
    samples = max(tile_size, spec.output.shards.samples // tile_size * tile_size)
    return Plan(spec, layout, tuple(splits), samples, reused, persons)


def quotas(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers with the given shares and sum, by largest remainder; ties go to the first named."""
    items = list(shares.items())
    weight = sum(share for _, share in items)
    exact = [share / weight * total for _, share in items]
    result = [int(value + 1e-9) for value in exact]
    for number in sorted(range(len(items)), key=lambda n: result[n] - exact[n])[: total - sum(result)]:
        result[number] += 1
    return {name: count for (name, _), count in zip(items, result, strict=True)}
