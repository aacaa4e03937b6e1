"""Rows to pictures: sample → generate → annotate → crop → degrade → encode, tile by tile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.annotators import TileView
from synthface.crops import Crop, five_points, make_crop, view_size_px
from synthface.factors.types import FactorBatch
from synthface.job import Job
from synthface.postprocess import degrade
from synthface.sampling import Samples, sample
from synthface.shards.encode import EncodedTile, encode_jpeg, encode_png

#: Rows that go through the pipeline together: a multiple of every K, small enough for little memory. Large datasets take
#: larger chunks, whose sampling costs less a row; small ones smaller, so that every worker gets some.
SMALL_CHUNK, LARGE_CHUNK, LARGE_DATASET = 64, 256, 4096


@dataclass(frozen=True)
class Picture:
    """A tile's pictures, with all that is known of them.

    Args:
        samples: the N samples.
        images: (N, H, W, 3) as they will be encoded.
        columns: label name to (N, …).
        files: extension to N files.
        view: (N, H, W, 3) what the generator drew.
        landmarks: (N, 68, 2) of the view, fractions of its size; None where nobody looks at them.
        num_dropped: how many were left out.
    """

    samples: Samples
    images: npt.NDArray[np.uint8]
    columns: Mapping[str, npt.NDArray[Any]]
    files: Mapping[str, Sequence[bytes]]
    view: npt.NDArray[np.uint8]
    landmarks: npt.NDArray[np.float32] | None = None
    num_dropped: int = 0

    def first(self, count: int) -> Picture:
        """The first `count` samples."""
        return self if count == len(self.samples) else self._of(np.arange(count))

    def only(self, kept: npt.NDArray[np.bool_]) -> Picture:
        """The samples (N,) that are kept; the rest is dropped."""
        return self if kept.all() else replace(self._of(np.flatnonzero(kept)), num_dropped=int((~kept).sum()))

    def _of(self, rows: npt.NDArray[np.int64]) -> Picture:
        return Picture(
            _rows(self.samples, rows),
            self.images[rows],
            {name: values[rows] for name, values in self.columns.items()},
            {extension: [content[n] for n in rows.tolist()] for extension, content in self.files.items()},
            self.view[rows],
            None if self.landmarks is None else self.landmarks[rows],
        )

    def with_rows(self, rows: npt.NDArray[np.int64], other: Picture) -> Picture:
        """These samples, but some rows (M,) from another drawing of the same tile."""
        chosen = np.zeros(len(self.samples), bool)
        chosen[rows] = True

        def mixed(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.where(chosen.reshape(-1, *[1] * (mine.ndim - 1)), theirs, mine)

        factors, new = vars(self.samples.factors), vars(other.samples.factors)
        columns = {name: mixed(values, other.columns[name]) for name, values in self.columns.items()}
        files = {
            extension: [theirs if is_new else mine for mine, theirs, is_new in zip(old, made, chosen, strict=True)]
            for extension, old, made in ((e, content, other.files[e]) for e, content in self.files.items())
        }
        return Picture(
            Samples(
                self.samples.rows,
                FactorBatch(**{name: mixed(values, new[name]) for name, values in factors.items()}),
                {name: columns[name] for name in self.samples.columns},
            ),
            mixed(self.images, other.images),
            columns,
            files,
            mixed(self.view, other.view),
            None if self.landmarks is None or other.landmarks is None else mixed(self.landmarks, other.landmarks),
        )


def pictures(job: Job, start: int, stop: int) -> Iterator[Picture]:
    """Sample, generate and annotate rows `start` to `stop`, tile by tile; `start` begins a tile.

    The generator always gets exactly K rows: the last tile of a split is filled up with the rows that follow, which are
    then dropped, so that a row's pixels never depend on where a run began or ended.
    """
    size = job.info.tile_size
    padded = start + -(-(stop - start) // size) * size
    drawn = sample(job.plan, np.arange(start, padded) % job.plan.num_images)
    for first in range(0, padded - start, size):
        count = min(size, stop - start - first)
        yield _picture(job, _rows(drawn, slice(first, first + size)), count)


def _picture(job: Job, tile: Samples, count: int) -> Picture:
    """The first `count` rows of a tile, audited where the spec asks for it."""
    made = make_pictures(job, tile)
    if job.spec.quality.audit is None:
        return made.first(count)
    from synthface.quality.audit import audited

    return audited(job, made, count, lambda samples: make_pictures(job, samples))


def make_pictures(job: Job, tile: Samples) -> Picture:
    """Generate, annotate, crop and degrade a whole tile."""
    image = job.spec.output.image
    view_px = view_size_px(image.crop, image.size)
    began = time.process_time()
    generated = job.generator.generate(tile.factors, size_px=view_px)
    job._state["generator_seconds"] = job._state.get("generator_seconds", 0.0) + time.process_time() - began
    crop = Crop(image.size)
    columns = dict(tile.columns)
    if image.crop != "full":
        crop = make_crop(image.crop, image.size, five_points(generated.scene.landmarks68_px))
        assert crop.matrices is not None
        columns["crop_matrix"] = crop.matrices.astype(np.float32)
    files: dict[str, Sequence[bytes]] = {}
    for annotator in job.annotators:
        labels = annotator.annotate(TileView(generated.scene, crop, generated.images))
        columns.update(labels.columns)
        files.update(labels.files)
    images = _degraded(job, tile, crop.images(generated.images))
    landmarks = generated.scene.landmarks68_px / np.float32(view_px) if job.spec.quality.audit is not None else None
    return Picture(tile, images, columns, files, generated.images, landmarks)


def _degraded(job: Job, tile: Samples, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    kinds = tuple(post.kind for post in job.spec.output.post)
    if not kinds:
        return images
    amounts = np.stack([tile.columns[f"post{n}_{kind}"] for n, kind in enumerate(kinds)], axis=1)
    streams = [job.plan.strata[n].name for n in tile.rows.stratum]
    return degrade(images, kinds, amounts, seed=job.spec.seed, streams=streams, keys=tile.rows.key)


def _rows(samples: Samples, rows: slice | npt.NDArray[np.int64]) -> Samples:
    taken = type(samples.rows)(**{name: value[rows] for name, value in vars(samples.rows).items()})
    return Samples(taken, samples.factors[rows], {name: values[rows] for name, values in samples.columns.items()})


def encode_rows(job: Job, start: int, stop: int) -> EncodedTile:
    """Rows `start` to `stop`, ready to be written."""
    image = job.spec.output.image
    parts = list(pictures(job, start, stop))
    files: list[dict[str, bytes]] = []
    for part in parts:
        for number, pixels in enumerate(part.images):
            content = encode_jpeg(pixels, image.quality, job.jpeg) if image.format == "jpg" else encode_png(pixels)
            files.append({image.format: content, **{ext: made[number] for ext, made in part.files.items()}})
    columns = {c.name: np.concatenate([part.columns[c.name] for part in parts]) for c in job.columns}
    return EncodedTile(columns["key"].tolist(), files, columns, sum(part.num_dropped for part in parts))


def chunks_of(job: Job, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Rows cut into chunks, aligned to `start`."""
    size = LARGE_CHUNK if job.plan.num_images >= LARGE_DATASET else SMALL_CHUNK
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)
