"""Streaming a finished dataset into training."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from synthface.errors import DatasetError
from synthface.manifest import read_manifest
from synthface.storage import LocalStore, open_store

if TYPE_CHECKING:
    import webdataset as wds

_SHUFFLE_BUFFER = 2000
_MAX_WORKERS = 1024


def open_dataset(
    dataset: str | Path,
    split: str | None = None,
    *,
    shuffle: bool | int = True,
    seed: int = 0,
    decode: bool = True,
    transform: Callable[[dict[str, Any]], Any] | None = None,
) -> wds.DataPipeline:
    """A webdataset pipeline over a dataset: dicts with `image`, `labels`, `identity`, `key` and the annotations.

    Shards are divided over ranks and DataLoader workers; each epoch has a fresh order. Wrap it in
    `torch.utils.data.DataLoader` or `webdataset.WebLoader`, or iterate over it. Iterating again is the next epoch;
    `set_epoch(n)` on the result says which comes next, for resuming.

    Args:
        dataset: folder or URL that `synthface render` wrote.
        split: `train`, say; None for all.
        shuffle: shuffle shards, and samples through a buffer (of this many, if a number).
        seed: of the shuffling.
        decode: image to uint8 (H, W, 3), masks and arrays to NumPy, JSON to a dict; otherwise bytes by extension.
        transform: applied to each sample, in the worker.

    Raises:
        DatasetError: the dataset isn't finished or has no such split.
    """
    import webdataset as wds

    urls = shard_urls(dataset, split)
    source = _EpochShards(urls, seed if shuffle else None)
    stages: list[Any] = [source, _read_shards]
    if shuffle:
        stages.append(_BufferShuffle(source, _SHUFFLE_BUFFER if shuffle is True else shuffle, seed))
    if decode:
        stages.append(wds.map(decode_sample))
    if transform is not None:
        stages.append(wds.map(transform))
    pipeline = wds.DataPipeline(*stages)
    pipeline.set_epoch = source.set_epoch
    return pipeline


def shard_urls(dataset: str | Path, split: str | None = None) -> list[str]:
    """Where the shards of a finished dataset are, in order, for any WebDataset reader.

    Raises:
        DatasetError: the dataset isn't finished or has no such split.
    """
    store = open_store(dataset)
    shards = read_manifest(store)["shards"]
    splits = list(dict.fromkeys(shard["split"] for shard in shards))
    if split is not None and split not in splits:
        raise DatasetError(f"{store.url}: no split {split!r}; allowed: {', '.join(splits)}")
    names = [shard["tar"]["name"] for shard in shards if split in (None, shard["split"])]
    if isinstance(store, LocalStore):
        return [str(store.root / name) for name in names]
    return [f"{store.url.rstrip('/')}/{name}" for name in names]


def decode_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """Bytes by extension → `key`, `image`, `labels`, `identity`, and each annotation by its name."""
    from PIL import Image

    result: dict[str, Any] = {"key": sample["__key__"]}
    for extension, content in sample.items():
        if extension.startswith("_"):
            continue
        if extension in ("jpg", "png"):
            picture = Image.open(io.BytesIO(content))
            result["image"] = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
        elif extension == "json":
            result["labels"] = orjson.loads(content)
        elif extension == "cls":
            result["identity"] = int(content)
        elif extension.endswith(".png"):
            result[extension.removesuffix(".png")] = np.asarray(Image.open(io.BytesIO(content)))
        elif extension.endswith(".npy"):
            result[extension.removesuffix(".npy")] = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            result[extension] = content
    return result


def _place_among_readers() -> tuple[int, int, int]:
    """(worker, number, count): this DataLoader worker, and this reader's place among all workers of all ranks."""
    import torch.distributed as dist
    from torch.utils.data import get_worker_info

    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
    info = get_worker_info()
    worker, workers = (info.id, info.num_workers) if info else (0, 1)
    return worker, rank * workers + worker, world * workers


def _read_shards(shards: Iterator[tuple[str, int, int]]) -> Iterator[dict[str, Any]]:
    """Samples as bytes by extension; of a shard shared by several readers, every n-th."""
    import fsspec
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    for url, nth, readers in shards:
        with fsspec.open(url, "rb") as stream:
            samples = group_by_keys({**file, "__url__": url} for file in tar_file_iterator(stream))
            for number, sample in enumerate(samples):
                if number % readers == nth:
                    yield sample


class _EpochShards:
    """The shards that fall to this reader, as (url, n-th, of how many readers), in this epoch's order.

    With more readers than shards, several read the same one, each taking every n-th sample, so that none goes idle and no
    sample comes twice.
    """

    def __init__(self, urls: list[str], seed: int | None) -> None:
        import torch

        self._urls = urls
        self._seed = seed
        # DataLoader workers get a copy of this object anew each epoch: a count kept in it would always be 0. Each
        # reader counts its own epochs in memory that all share.
        self._epochs = torch.zeros(_MAX_WORKERS, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The number of the next epoch."""
        self._epochs.fill_(epoch)

    def __call__(self) -> Iterator[tuple[str, int, int]]:
        worker, number, count = _place_among_readers()
        self.epoch = int(self._epochs[worker])
        self._epochs[worker] += 1
        urls = list(self._urls)
        if self._seed is not None:
            order = np.random.default_rng((self._seed, self.epoch)).permutation(len(urls))
            urls = [urls[n] for n in order]
        if count <= len(urls):
            return iter([(url, 0, 1) for url in urls[number::count]])
        shard, nth = number % len(urls), number // len(urls)
        sharing = len(range(shard, count, len(urls)))
        return iter([(urls[shard], nth, sharing)])


class _BufferShuffle:
    """Samples in random order through a buffer, another order each epoch."""

    def __init__(self, source: _EpochShards, size: int, seed: int) -> None:
        self._source = source
        self._size = size
        self._seed = seed

    def __call__(self, samples: Iterator[Any]) -> Iterator[Any]:
        _, number, _ = _place_among_readers()
        rng = np.random.default_rng((self._seed, self._source.epoch, number, 1))
        buffer: list[Any] = []
        for sample in samples:
            if len(buffer) < self._size:
                buffer.append(sample)
                continue
            chosen = int(rng.integers(len(buffer)))
            buffer[chosen], sample = sample, buffer[chosen]
            yield sample
        for chosen in rng.permutation(len(buffer)):
            yield buffer[int(chosen)]
