"""Shards as endless batches, from any point of the stream on.

Each sample's randomness depends on (seed, epoch, key) alone, so it is the same whatever the number of workers; the order
depends on the seed and on how many readers share the shards. `place` says where the stream stands: beginning there again
gives the batches that would have come, for the same number of readers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from synthface.errors import DatasetError
from synthface.shards.reader import decode_sample, open_dataset

#: A decoded sample and its generator to what a batch is stacked from: arrays and numbers.
Prepare = Callable[[dict[str, Any], np.random.Generator], tuple[Any, ...]]
PICTURE = ("jpg", "png")


@dataclass(frozen=True)
class Place:
    """Where a stream stands: in its epoch, after so many batches."""

    epoch: int = 0
    batches: int = 0


class Batches:
    """Endless batches of a split's samples; shards may be local or remote and are read as they are.

    Args:
        dataset: folder or URL that `synthface render` wrote.
        split: which part; None for all.
        prepare: sample to what is stacked; runs in the worker.
        files: extensions that it needs; others aren't decoded.
        batch: samples in each batch; what doesn't fill one at an epoch's end is left out.
        workers: processes that read; 0 reads in this one.
        seed: of order and randomness.
        buffer: samples that the order is mixed through; 0 keeps the order of the shards.
        start: where to begin.

    Raises:
        DatasetError: the dataset isn't finished or has no such split.
    """

    def __init__(
        self,
        dataset: str | Path,
        split: str | None,
        prepare: Prepare,
        *,
        files: Collection[str],
        batch: int,
        workers: int,
        seed: int,
        buffer: int,
        start: Place = Place(),
    ) -> None:
        self.place = start
        self._source = _Source(dataset, split, prepare, frozenset(files), batch, seed, buffer)
        self._batch = batch
        self._workers = workers
        self._where = f"{dataset}{f', split {split}' if split else ''}"

    def __iter__(self) -> Iterator[Sequence[Tensor]]:
        while True:
            epoch, skipped = self.place.epoch, self.place.batches
            self._source.begin(epoch, skipped)
            number = 0
            for number, batch in enumerate(self._loader(), start=1):
                if number > skipped:
                    self.place = Place(epoch, number)
                    yield batch
            if number == 0:
                raise DatasetError(
                    f"{self._where}: not one full batch of {self._batch} for this reader; lower the batch or the number of "
                    "workers, or render more images"
                )
            self.place = Place(epoch + 1)

    def _loader(self) -> DataLoader[Any]:
        return DataLoader(
            self._source,
            batch_size=self._batch,
            num_workers=self._workers,
            drop_last=True,
            pin_memory=torch.cuda.is_available(),
            # Workers learn their rank from the process group, which only a fork inherits.
            multiprocessing_context="fork" if self._workers and _is_one_of_many() else None,
        )


class _Source(IterableDataset[Any]):
    def __init__(
        self,
        dataset: str | Path,
        split: str | None,
        prepare: Prepare,
        files: frozenset[str],
        batch: int,
        seed: int,
        buffer: int,
    ) -> None:
        self._pipeline = open_dataset(dataset, split, shuffle=buffer or False, seed=seed, decode=False)
        self._prepare = prepare
        self._files = files
        self._batch = batch
        self._seed = seed
        self._epoch = self._skipped = 0

    def begin(self, epoch: int, skipped: int) -> None:
        """Which epoch comes next, and how many of its batches nobody will look at."""
        self._epoch, self._skipped = epoch, skipped
        self._pipeline.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        # Batches come from the workers in turn, so at least these of ours are skipped; they needn't be decoded.
        blank = max(0, -(-(self._skipped - worker) // workers)) * self._batch
        for number, sample in enumerate(self._pipeline):
            yield 0 if number < blank else self._one(sample)

    def _one(self, sample: dict[str, Any]) -> tuple[Any, ...]:
        wanted = {name: value for name, value in sample.items() if name in self._files or name == "__key__"}
        rng = np.random.default_rng((self._seed, self._epoch, int(sample["__key__"])))
        return self._prepare(decode_sample(wanted), rng)


def _is_one_of_many() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
