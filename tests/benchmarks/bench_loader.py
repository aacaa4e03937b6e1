"""How fast are shards read into training, against reading the tar alone and decoding the JPEGs alone?

    python -m tests.benchmarks.bench_loader [DATASET]

Goal: `open_dataset` at 90 % or more of the decode limit. Ratios are of processor time in one process; the last lines are of
wall time with reading processes, where other jobs on the machine show.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import synthface
from recipes.common.pictures import NO_CHANGE, AugmentSettings
from recipes.common.stream import PICTURE, Batches
from recipes.recognition.training import PrepareFace
from synthface.shards.reader import open_dataset, shard_urls


def dataset_of_noise(folder: Path, num_images: int, size_px: int) -> None:
    """A dataset to read: faces of the analytic renderer."""
    spec = {
        "version": 1,
        "name": "bench",
        "seed": 1,
        "generator": "3dmm",
        "identities": {"count": num_images // 8},
        "images_per_identity": 8,
        "output": {"image": {"size": size_px, "crop": "arcface"}, "annotations": [], "shards": {"samples": 500}},
    }
    synthface.render(spec, folder)


def read_tars(urls: Iterable[str]) -> list[bytes]:
    """Every picture's bytes, by tarfile alone."""
    found = []
    for url in urls:
        with tarfile.open(url) as archive:
            for member in archive:
                file = archive.extractfile(member)
                data = file.read() if file else b""
                if member.name.endswith((".jpg", ".png")):
                    found.append(data)
    return found


def decode(pictures: Iterable[bytes]) -> None:
    """By pillow alone."""
    for data in pictures:
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def exhaust(samples: Iterable[Any]) -> None:
    """Read on to the end."""
    for _ in samples:
        pass


def seconds(work: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """The shortest of some runs, after one that warms the disk's cache."""
    work()
    taken = []
    for _ in range(repeats):
        began = clock()
        work()
        taken.append(clock() - began)
    return min(taken)


def batches(dataset: Path, settings: AugmentSettings, size_px: int, workers: int, num: int) -> Callable[[], None]:
    """Reads `num` batches of 32 as training does."""
    identities = np.arange(1_000_000)

    def run() -> None:
        stream = Batches(
            dataset,
            None,
            PrepareFace(size_px, settings, identities),
            files=(*PICTURE, "cls"),
            batch=32,
            workers=workers,
            seed=0,
            buffer=500,
        )
        for _, _ in zip(range(num), stream, strict=False):
            pass

    return run


def main() -> None:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="?", type=Path, help="one that is there; otherwise one is rendered")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = options.dataset or Path(folder) / "data"
        if options.dataset is None:
            dataset_of_noise(dataset, options.images, options.size)
        compare(dataset, options)


def compare(dataset: Path, options: argparse.Namespace) -> None:
    """Print times and ratios of a dataset."""
    urls = shard_urls(dataset)
    pictures = read_tars(urls)
    num, size_px = len(pictures), Image.open(io.BytesIO(pictures[0])).size[0]
    tar = seconds(lambda: read_tars(urls), options.repeats)
    limit = seconds(lambda: decode(pictures), options.repeats)
    print(f"{num} pictures of {size_px} px; µs a picture: tar {1e6 * tar / num:.0f}, decoding {1e6 * limit / num:.0f}")
    ours = {
        "open_dataset, bytes": lambda: exhaust(open_dataset(dataset, decode=False)),
        "open_dataset, decoded": lambda: exhaust(open_dataset(dataset)),
        "training batches, no augmentation": batches(dataset, NO_CHANGE, size_px, 0, num // 32),
        "training batches, augmented": batches(dataset, AugmentSettings(), size_px, 0, num // 32),
    }
    for name, work in ours.items():
        taken = seconds(work, options.repeats)
        print(
            f"{name}: {1e6 * taken / num:.0f} µs a picture; {tar / taken:.2f} of raw tar reading, {limit / taken:.2f} of "
            f"decoding alone, {(tar + limit) / taken:.2f} of both",
            flush=True,
        )
    work = batches(dataset, AugmentSettings(), size_px, options.workers, num // 32)
    taken = seconds(work, options.repeats, time.perf_counter)
    print(f"{options.workers} reading processes, augmented, wall time: {num / taken:.0f} pictures a second")


if __name__ == "__main__":
    main()
