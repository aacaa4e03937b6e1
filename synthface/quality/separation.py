"""Descriptors that are far enough from each other: a set that grows one by one. Pure NumPy.

Distances are 1 − cos of centred descriptors, so that all work is matrix products of unit vectors: one block of candidates
against everything taken so far. Products are float32, and what they leave open (a candidate within rounding of the limit)
is decided in float64: which candidates are taken doesn't depend on how a BLAS library adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: Candidates compared at once: their similarities to 100 000 others take 100 MB.
BLOCK = 256
#: Similarities this near to the limit are computed again in float64; a float32 product of unit vectors errs by 1e-6 at most.
_UNSURE = 1e-5


def unit(descriptors: npt.NDArray[np.floating], centre: npt.NDArray[np.floating]) -> F32:
    """Centred descriptors (N, D) of length 1; one that lies on the centre stays 0."""
    centred = np.asarray(descriptors, np.float64) - np.asarray(centre, np.float64)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return (centred / np.where(length > 0, length, 1.0)).astype(np.float32)


class Apart:
    """Unit vectors (N, D) whose distances to each other are all at least `min_distance`.

    Args:
        min_distance: 1 − cos, in [0, 2]; two candidates exactly this far apart are far enough.
        num_dimensions: D.
    """

    def __init__(self, min_distance: float, num_dimensions: int) -> None:
        self.min_distance = min_distance
        self._vectors = np.empty((BLOCK, num_dimensions), np.float32)
        self._similarity = np.empty(BLOCK, np.float32)
        self._neighbour = np.empty(BLOCK, np.int64)
        self._num = 0

    def __len__(self) -> int:
        return self._num

    @property
    def vectors(self) -> F32:
        """(N, D) what has been taken, in that order."""
        return self._vectors[: self._num]

    def take(self, candidates: F32, is_wanted: Callable[[int], bool] = lambda number: True) -> Iterator[int]:
        """Go through candidates (M, D) in order; yield each that is taken, at once, as its number in 0 … M − 1.

        To be exhausted: to stop early, let `is_wanted` decline the rest.

        Args:
            candidates: unit vectors.
            is_wanted: asked when a candidate's turn comes; what it declines isn't compared with anything.
        """
        for start in range(0, len(candidates), BLOCK):
            yield from self._take_block(start, candidates[start : start + BLOCK], is_wanted)

    def _take_block(self, start: int, block: F32, is_wanted: Callable[[int], bool]) -> Iterator[int]:
        """At most `BLOCK` candidates: the taken ones of before by one product, those of this block by another."""
        before = self._num
        earlier = block @ self.vectors.T  # (M, N)
        highest = earlier.max(axis=1, initial=-2.0)
        among = block @ block.T  # (M, M)
        taken: list[int] = []
        for number in range(len(block)):
            if not is_wanted(start + number):
                continue
            nearest = max(float(highest[number]), float(among[number, taken].max(initial=-2.0)))
            if self._is_apart(block[number], nearest, earlier[number], among[number, taken], before):
                self._grow()
                self._vectors[self._num] = block[number]
                self._num += 1
                taken.append(number)
                yield start + number
        self._note_neighbours(earlier[taken], among[np.ix_(taken, taken)], before)

    def _is_apart(self, vector: F32, nearest: float, earlier: F32, among: F32, before: int) -> bool:
        limit = 1.0 - self.min_distance
        if abs(nearest - limit) > _UNSURE:
            return nearest < limit
        close = np.flatnonzero(np.concatenate([earlier, among]) > limit - 2 * _UNSURE)
        return bool((1.0 - _cosines(self.vectors[close], vector) >= self.min_distance).all())

    def _grow(self) -> None:
        if self._num == len(self._vectors):
            for name in ("_vectors", "_similarity", "_neighbour"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.empty_like(old)]))

    def _note_neighbours(self, earlier: F32, among: F32, before: int) -> None:
        """Who is nearest to whom now that a block's taken ones (T) are there: earlier (T, N), among (T, T)."""
        count = self._num - before
        if not count:
            return
        new = np.arange(before, self._num)
        np.fill_diagonal(among, -2.0)
        both = np.concatenate([earlier, among], axis=1)
        self._neighbour[new] = both.argmax(axis=1)
        self._similarity[new] = both.max(axis=1)
        if before:
            nearest_new = earlier.argmax(axis=0)
            similarity = earlier[nearest_new, np.arange(before)]
            better = np.flatnonzero(similarity > self._similarity[:before])
            self._neighbour[better], self._similarity[better] = new[nearest_new[better]], similarity[better]

    def nearest_distance(self) -> F32:
        """(N,) the distance of each to the nearest other; 2 where there is no other."""
        if self._num < 2:
            return np.full(self._num, 2.0, np.float32)
        others = self.vectors[self._neighbour[: self._num]]
        return (1.0 - _cosines(self.vectors, others)).astype(np.float32)


def _cosines(first: F32, second: F32) -> npt.NDArray[np.float64]:
    """Cosines (N,) of unit vectors (N, D) and (N, D) or (D,), in float64 and one fixed order of summing."""
    product = first.astype(np.float64) * second.astype(np.float64)
    return np.asarray(product.sum(axis=1))
