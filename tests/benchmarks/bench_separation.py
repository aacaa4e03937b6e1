"""What choosing identities that are apart costs: the search alone at 100 000, and the standard pictures it looks at.

    python -m tests.benchmarks.bench_separation
    python -m tests.benchmarks.bench_separation --count 20000 --distance 0.55

Random descriptors stand for f_id's; two threads of the BLAS library (`OPENBLAS_NUM_THREADS=2`) are two cores.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from synthface.engines.local import single_threaded
from synthface.job import prepare
from synthface.quality import canonical
from synthface.quality.separation import Apart, unit

#: Draws at a time, and numbers in a descriptor.
_BLOCK, _DIMENSIONS = 1024, 128


def search(count: int, min_distance: float, num_dimensions: int) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds, candidates) until `count` are taken."""
    rng = np.random.default_rng(0)
    into = np.linalg.qr(rng.normal(size=(_DIMENSIONS, num_dimensions)))[0].T
    apart, tried = Apart(min_distance, _DIMENSIONS), 0
    wall, cpu = 0.0, 0.0
    while len(apart) < count:
        block = unit(rng.normal(size=(_BLOCK, num_dimensions)) @ into, np.zeros(_DIMENSIONS))
        began, began_cpu = time.monotonic(), time.process_time()
        for _ in apart.take(block, lambda number: len(apart) < count):
            pass
        wall, cpu, tried = wall + time.monotonic() - began, cpu + time.process_time() - began_cpu, tried + _BLOCK
        if tried % (10 * _BLOCK) == 0:
            print(f"  {len(apart)} of {tried}", end="\r", flush=True)
    return wall, cpu, tried


def pictures(num: int) -> tuple[float, float]:
    """CPU seconds of the generator and of f_id, for one standard picture of the bundled renderer."""
    spec = {"version": 1, "name": "b", "seed": 1, "identities": {"count": num}, "images_per_identity": 1}
    job = prepare(spec)
    with single_threaded():
        canonical.describe(job, np.arange(job.info.tile_size))
        began = time.process_time()
        canonical.describe(job, np.arange(num))
        both = time.process_time() - began
        factors = canonical.canonical_factors(job.spec, job.info.layout, np.arange(num))
        began = time.process_time()
        for start in range(0, num, job.info.tile_size):
            job.generator.generate(factors[start : start + job.info.tile_size], size_px=canonical.SIZE_PX)
        generator = time.process_time() - began
    return generator / num, (both - generator) / num


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--distance", type=float, default=0.33)
    parser.add_argument(
        "--dimensions", type=int, default=32, help="that random descriptors really fill; 128 never collide"
    )
    options = parser.parse_args()
    generator, recognition = pictures(64)
    both = generator + recognition
    print(f"a standard picture of 3dmm: {1e3 * generator:.0f} ms to draw, {1e3 * recognition:.0f} ms to describe (CPU)")
    print(f"  {options.count} of them on two cores: {options.count * both / 2 / 3600:.1f} h")
    wall, cpu, tried = search(options.count, options.distance, options.dimensions)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"search: {options.count} taken of {tried} in {wall:.0f} s ({cpu:.0f} CPU s), peak memory {memory:.0f} MB")


if __name__ == "__main__":
    main()
