"""Streaming a finished dataset into training."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthface.errors import DatasetError
from synthface.manifest import read_manifest
from synthface.storage import LocalStore, open_store

if TYPE_CHECKING:
    import webdataset as wds

_SHUFFLE_BUFFER = 2000


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
    stages: list[Any] = [source, wds.tarfile_to_samples()]
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
            result["image"] = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        elif extension == "json":
            result["labels"] = json.loads(content)
        elif extension == "cls":
            result["identity"] = int(content)
        elif extension.endswith(".png"):
            result[extension.removesuffix(".png")] = np.asarray(Image.open(io.BytesIO(content)))
        elif extension.endswith(".npy"):
            result[extension.removesuffix(".npy")] = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            result[extension] = content
    return result


def _share_of_worker() -> tuple[int, int]:
    """(number, count) of this reader over all ranks and DataLoader workers."""
    rank, world, worker, workers = 0, 1, 0, 1
    try:
        import torch.distributed as dist
        from torch.utils.data import get_worker_info
    except ImportError:
        return 0, 1
    if dist.is_available() and dist.is_initialized():
        rank, world = dist.get_rank(), dist.get_world_size()
    if info := get_worker_info():
        worker, workers = info.id, info.num_workers
    return rank * workers + worker, world * workers


class _EpochShards:
    """The shards that fall to this worker, in this epoch's order.

    With more readers than shards, a shard is read by several, each taking every n-th sample, so that none goes idle and no
    sample comes twice.
    """

    def __init__(self, urls: list[str], seed: int | None) -> None:
        self._urls = urls
        self._seed = seed
        self.epoch = -1

    def set_epoch(self, epoch: int) -> None:
        """The number of the next epoch."""
        self.epoch = epoch - 1

    def __call__(self, source: Any = None) -> Iterator[dict[str, Any]]:
        return iter(self)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.epoch += 1
        urls = list(self._urls)
        if self._seed is not None:
            order = np.random.default_rng((self._seed, self.epoch)).permutation(len(urls))
            urls = [urls[number] for number in order]
        number, count = _share_of_worker()
        readers_per_shard = max(1, count // len(urls))
        if readers_per_shard == 1:
            mine, part = urls[number::count], (0, 1)
        else:
            shard, nth = number % len(urls), number // len(urls)
            mine, part = ([urls[shard]], (nth, readers_per_shard)) if nth < readers_per_shard else ([], (0, 1))
        for url in mine:
            yield {"url": url, "_part": part}


class _BufferShuffle:
    """Samples in random order through a buffer, another order each epoch."""

    def __init__(self, source: _EpochShards, size: int, seed: int) -> None:
        self._source = source
        self._size = size
        self._seed = seed

    def __call__(self, samples: Iterator[Any]) -> Iterator[Any]:
        number, _ = _share_of_worker()
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
