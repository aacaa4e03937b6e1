"""What everything but the generator costs, in units of pillow encoding the same JPEGs; and memory over dataset size.

    python -m tests.benchmarks.bench_pipeline

Goals: at most 3× in CPU time; resident memory for 100 000 images within 10 % of that for 1 000.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import synthface
from synthface.engines.local import single_threaded
from synthface.job import Job, prepare
from synthface.shards.reader import open_dataset
from synthface.shards.writer import write_shard
from synthface.storage import open_store
from synthface.tiles import chunks_of, encode_rows


def spec(num_images: int, size_px: int, crop: str, annotations: list[str]) -> dict[str, Any]:
    """A dataset in one shard."""
    return {
        "version": 1,
        "name": "bench",
        "seed": 1,
        "identities": {"count": num_images // 8},
        "images_per_identity": 8,
        "output": {
            "image": {"size": size_px, "crop": crop},
            "annotations": annotations,
            "shards": {"samples": num_images},
        },
    }


def overhead(num_images: int, size_px: int, crop: str, annotations: list[str]) -> float:
    """CPU time of sampling, annotating, encoding and writing over that of pillow's encoding alone."""
    job = prepare(spec(num_images, size_px, crop, annotations))
    with single_threaded(), tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as folder:
        _write(job, warm)
        job._state["generator_seconds"] = 0.0
        began = time.process_time()
        _write(job, folder)
        everything = time.process_time() - began - job._state["generator_seconds"]
        pictures = [s["jpg"] for s in open_dataset_raw(folder)]
    images = [Image.fromarray(np.asarray(Image.open(io.BytesIO(p)))) for p in pictures]
    began = time.process_time()
    for image in images:
        image.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)
    return everything / (time.process_time() - began)


def _write(job: Job, folder: str) -> None:
    (shard,) = job.plan.shards
    tiles = (encode_rows(job, *chunk) for chunk in chunks_of(job, shard.start, shard.stop))
    write_shard(open_store(folder), shard, tiles, job.columns, {})


def open_dataset_raw(folder: str) -> list[dict[str, bytes]]:
    """The samples of the one shard."""
    from synthface.manifest import iterate_tar

    with next(Path(folder).glob("data/*.tar")).open("rb") as file:
        return [files for _, files in iterate_tar(file)]


def reading(num_images: int, size_px: int) -> float:
    """Images a second through `open_dataset` over those of tarfile and pillow alone."""
    with tempfile.TemporaryDirectory() as folder:
        synthface.render(spec(num_images, size_px, "full", ["landmarks"]), folder)
        for _ in open_dataset(folder):
            pass
        began = time.process_time()
        for sample in open_dataset(folder):
            assert sample["image"].shape == (size_px, size_px, 3)
        ours = time.process_time() - began
        began = time.process_time()
        for files in open_dataset_raw(folder):
            np.asarray(Image.open(io.BytesIO(files["jpg"])).convert("RGB"))
        return (time.process_time() - began) / ours


_MEMORY = """
import sys, resource
from tests.benchmarks.bench_pipeline import render_grey
render_grey(int(sys.argv[1]), sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def render_grey(num_images: int, folder: str) -> None:
    """A dataset whose generator costs nothing: all that remains is the pipeline."""
    from synthface import job, pipeline
    from synthface.generators import load_generator
    from synthface.generators.base import Generated

    real = load_generator("3dmm")
    views: dict[int, np.ndarray] = {}

    class Grey:
        name, tile_size, native_size_px, layout, describe = "3dmm", real.tile_size, 64, real.layout, real.describe

        def generate(self, factors: Any, *, size_px: int) -> Generated:
            from synthface.morphable.scene import Scene

            views.setdefault(size_px, np.full((len(factors), size_px, size_px, 3), 127, np.uint8))
            return Generated(views[size_px], Scene(real.model, factors, size_px))  # type: ignore[attr-defined]

    job.load_generator = lambda name, device, truncation=None: Grey()  # type: ignore[assignment]
    small = spec(num_images, 16, "full", [])
    small["output"]["shards"]["samples"] = 1000
    pipeline.render(small, folder)


def memory(num_images: int) -> int:
    """Peak resident memory, kB, of rendering so many images in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, str(num_images), folder], check=True, capture_output=True, text=True
        )
    return int(done.stdout.split()[-1])


def main() -> None:
    """Print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument(
        "--large", type=int, default=100_000, help="images of the larger dataset in the memory test; 0 skips it"
    )
    options = parser.parse_args()
    for size_px, crop in ((112, "arcface"), (128, "full"), (256, "full")):
        for labels in ([], ["landmarks"], ["landmarks", "boxes"]):
            ratio = overhead(options.images, size_px, crop, labels)
            print(f"overhead {size_px} px {crop} {labels}: {ratio:.2f}× pillow's encoding (goal ≤ 3)", flush=True)
    print(f"reading: {reading(options.images, 112):.2f} of tarfile + pillow (limit 1)", flush=True)
    if options.large:
        small, large = memory(1000), memory(options.large)
        print(f"memory: {options.large} images need {large / small:.3f}× that of 1000 (goal ≤ 1.1)")


if __name__ == "__main__":
    main()
