"""Verification pair lists: genuine and impostor pairs of one split, in identity-disjoint folds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from synthface.errors import SpecError, SpecProblem
from synthface.plan import Plan
from synthface.sampling import keys
from synthface.seeding import uniforms
from synthface.spec.model import PairList

I64 = npt.NDArray[np.int64]

HEADER = ("key_a", "key_b", "same", "fold", "condition_a", "condition_b")
_MAX_ROUNDS = 60


def pair_lists(plan: Plan) -> Iterator[tuple[str, bytes]]:
    """(name, CSV) of each list that the spec asks for.

    Raises:
        SpecError: a list asks for more pairs than there are.
    """
    for name, wanted in plan.spec.pairs.items():
        yield name, _csv(plan, *pairs_of(plan, name, wanted))


def pairs_of(plan: Plan, name: str, wanted: PairList) -> tuple[I64, npt.NDArray[np.bool_], I64]:
    """Pairs of rows (P, 2), whether they show the same identity (P,), and their folds (P,).

    Identities are dealt to folds first, so that no identity is in two: a threshold learned on some folds has seen nobody
    of the others. Within a fold pairs are drawn without repetition.

    Raises:
        SpecError: there aren't as many different pairs.
    """
    images = _RowsOfSplit(plan, wanted)
    problems, parts = [], []
    for kind, count in (("genuine", wanted.genuine), ("impostor", wanted.impostor)):
        shares = [count // wanted.folds + (fold < count % wanted.folds) for fold in range(wanted.folds)]
        available = [images.capacity(fold, kind) for fold in range(wanted.folds)]
        short = [fold for fold in range(wanted.folds) if available[fold] < shares[fold]]
        if short:
            most = min(available) * wanted.folds
            problems.append(
                SpecProblem(
                    plan.spec.source.file,
                    *_position(plan, name, kind),
                    f"pairs.{name}.{kind}",
                    f"asks for {count}, but split {wanted.split!r} has only {most} different {kind} pairs in {wanted.folds} "
                    f"equal folds of different identities; allowed: at most {most}. Lower it, use fewer folds, or add "
                    "identities or images",
                )
            )
            continue
        for fold, share in enumerate(shares):
            rows = images.draw(fold, kind, share, f"pairs/{name}/{kind}/{fold}")
            parts.append((rows, np.full(len(rows), kind == "genuine"), np.full(len(rows), fold)))
    if problems:
        raise SpecError(problems)
    rows, same, folds = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(folds, kind="stable")
    return rows[order], same[order], folds[order]


def _position(plan: Plan, name: str, kind: str) -> tuple[int, int]:
    positions = plan.spec.source.positions
    return positions.get(("pairs", name, kind), positions.get(("pairs", name), ((0, 0), (0, 0))))[1]


class _RowsOfSplit:
    """Rows of a split by identity and image, without listing them."""

    def __init__(self, plan: Plan, wanted: PairList) -> None:
        self._plan = plan
        split = next(part for part in plan.splits if part.name == wanted.split)
        self._first, self._folds = split.first_identity, wanted.folds
        self._num_identities = split.last_identity - split.first_identity
        ends = np.cumsum(plan.counts)
        ranges = {
            s.name: (int(end - count), int(end)) for s, count, end in zip(plan.strata, plan.counts, ends, strict=True)
        }
        whole = (0, plan.images_per_identity)
        self._a, self._b = [ranges[name] for name in wanted.across] if len(wanted.across) == 2 else (whole, whole)
        self._is_across = self._a != self._b

    def capacity(self, fold: int, kind: str) -> int:
        """Number of different pairs in a fold."""
        identities = len(range(fold, self._num_identities, self._folds))
        a, b = self._a[1] - self._a[0], self._b[1] - self._b[0]
        if kind == "genuine":
            return identities * (a * b if self._is_across else a * (a - 1) // 2)
        pairs = identities * (identities - 1)
        return pairs * a * b if self._is_across else pairs // 2 * a * b

    def draw(self, fold: int, kind: str, count: int, stream: str) -> I64:
        """`count` different pairs (count, 2) of rows."""
        found: dict[tuple[int, int], None] = {}
        start = 0
        identities = len(range(fold, self._num_identities, self._folds))
        for _ in range(_MAX_ROUNDS):
            missing = count - len(found)
            if not missing:
                break
            batch = max(64, 2 * missing)
            u = uniforms(self._plan.spec.seed, stream, np.arange(start, start + batch), 4)
            start += batch
            for pair in self._pairs(u, fold, kind, identities):
                if len(found) < count:
                    found.setdefault(pair)
        else:
            # So few are left undrawn that drawing at random takes too long: go through all of them in order.
            for pair in self._all(fold, kind, identities):
                if len(found) == count:
                    break
                found.setdefault(pair)
        if not found:
            return np.empty((0, 2), np.int64)
        return self._to_rows(np.array(list(found), np.int64))

    def _pairs(self, u: npt.NDArray[np.float64], fold: int, kind: str, identities: int) -> Iterator[tuple[int, int]]:
        per = self._plan.images_per_identity
        one = (u[:, 0] * identities).astype(np.int64)
        image_a = self._a[0] + (u[:, 1] * (self._a[1] - self._a[0])).astype(np.int64)
        image_b = self._b[0] + (u[:, 2] * (self._b[1] - self._b[0])).astype(np.int64)
        two = one if kind == "genuine" else (one + 1 + (u[:, 3] * (identities - 1)).astype(np.int64)) % identities
        a = (self._first + fold + one * self._folds) * per + image_a
        b = (self._first + fold + two * self._folds) * per + image_b
        yield from (self._ordered(int(x), int(y)) for x, y in zip(a, b, strict=True) if x != y)

    def _all(self, fold: int, kind: str, identities: int) -> Iterator[tuple[int, int]]:
        per = self._plan.images_per_identity
        for one in range(identities):
            for two in [one] if kind == "genuine" else [n for n in range(identities) if n != one]:
                for i in range(*self._a):
                    for j in range(*self._b):
                        x = (self._first + fold + one * self._folds) * per + i
                        y = (self._first + fold + two * self._folds) * per + j
                        if x != y:
                            yield self._ordered(x, y)

    def _ordered(self, a: int, b: int) -> tuple[int, int]:
        return (a, b) if self._is_across or a < b else (b, a)

    def _to_rows(self, logical: I64) -> I64:
        """Logical image numbers to row numbers: they differ where rows are shuffled."""
        return self._plan.row_of(logical.ravel()).reshape(logical.shape)


def _csv(plan: Plan, rows: I64, same: npt.NDArray[np.bool_], folds: I64) -> bytes:
    names = np.array([stratum.name for stratum in plan.strata])
    a, b = (plan.rows(rows[:, side]) for side in (0, 1))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    columns = (keys(a.index), keys(b.index), same.astype(int), folds, names[a.stratum], names[b.stratum])
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode()
