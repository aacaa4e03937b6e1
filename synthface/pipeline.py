"""The whole flow: load → plan → identities → sample → generate → annotate → encode → write → commit.

`render` writes a dataset; `samples` yields the same samples without writing anything. Both go through `Job.encode`'s
steps, so that what is looked at is what would be written.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from synthface.annotators import Annotator, TileView, annotators_of, networks_of
from synthface.columns import Column, Origin, SampleFile, check_unique
from synthface.crops import CROPS, Crop, five_points, make_crop, view_size_px
from synthface.factors.types import FactorBatch
from synthface.generators import GeneratorInfo, generator_info, load_generator
from synthface.generators.base import Generator
from synthface.identities import ChosenIdentities, IdentityTable, read_identities
from synthface.plan import Plan, make_plan
from synthface.postprocess import degrade
from synthface.quality.audit import audit_columns
from synthface.sampling import Samples, sample
from synthface.shards.encode import EncodedTile, JpegBackend, encode_jpeg, encode_png, encoder_versions
from synthface.shards.writer import is_finished, write_shard
from synthface.spec.layout import resolve
from synthface.spec.loader import load_spec
from synthface.spec.model import Spec
from synthface.storage import Store, open_store

if TYPE_CHECKING:
    from synthface.networks.recognition import Recognition
    from synthface.quality.audit import Auditor
    from synthface.quality.estimators import Estimator

#: Rows that go through the pipeline together: a multiple of every K, small enough for little memory. Large datasets take
#: larger chunks, whose sampling costs less a row; small ones smaller, so that every worker gets some.
SMALL_CHUNK, LARGE_CHUNK, LARGE_DATASET = 64, 256, 4096
FORMAT = 1
SpecSource = str | Path | Mapping[str, Any] | Spec


@dataclass(frozen=True)
class Progress:
    """How far a run is: images (or what else) done and to do in this run, and seconds since it began."""

    done: int
    total: int
    seconds: float
    what: str = "images"


@dataclass(frozen=True)
class RenderSummary:
    """What a run did.

    Args:
        out: where.
        num_images: rendered by this run.
        num_already_there: that earlier runs had committed.
        is_finished: whether the whole dataset is now there, manifest included.
        num_missing_shards: shards that other parts still have to render.
        seconds: taken.
        bytes: written into shards by this run.
        shortfalls: what the spec asks for and couldn't be had, in words.
    """

    out: str
    num_images: int
    num_already_there: int
    is_finished: bool
    num_missing_shards: int
    seconds: float
    bytes: int
    shortfalls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A spec met with its generator: all that a worker must know. Made by `prepare`; travels to other processes."""

    spec: Spec
    info: GeneratorInfo
    plan: Plan
    device: str = "cpu"
    jpeg: JpegBackend = "pillow"
    chosen: ChosenIdentities | None = None
    _state: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        chosen = self.chosen if self.audits_identity else None  # large, and of no use to workers otherwise
        return {**self.__dict__, "_state": {}, "chosen": chosen}

    @property
    def audits_identity(self) -> bool:
        """Whether pictures are compared with their identity's standard picture."""
        return self.spec.quality.audit is not None and "identity" in self.spec.quality.audit.limits

    @property
    def estimator(self) -> Estimator:
        """What reads factors off pictures for the audit, loaded in this process when first asked for."""
        if "estimator" not in self._state:
            from synthface.quality.estimators import load_estimator

            assert self.spec.quality.audit is not None
            self._state["estimator"] = load_estimator(self.spec.quality.audit.estimator, device=self.device)
        estimator: Estimator = self._state["estimator"]
        return estimator

    @property
    def auditor(self) -> Auditor:
        """What looks at pictures, loaded in this process when first asked for."""
        if "auditor" not in self._state:
            from synthface.quality.audit import Auditor

            self._state["auditor"] = Auditor(self)
        auditor: Auditor = self._state["auditor"]
        return auditor

    @property
    def generator(self) -> Generator:
        """The generator, loaded in this process when first asked for."""
        if "generator" not in self._state:
            self._state["generator"] = load_generator(
                self.info.name, device=self.device, truncation=self.spec.truncation
            )
        generator: Generator = self._state["generator"]
        return generator

    @property
    def recognition(self) -> Recognition:
        """f_id, loaded in this process when first asked for."""
        if "recognition" not in self._state:
            from synthface.networks.recognition import load_recognition

            self._state["recognition"] = load_recognition().to(self.device)
        recognition: Recognition = self._state["recognition"]
        return recognition

    @property
    def annotators(self) -> tuple[Annotator, ...]:
        """Those the spec asks for."""
        return annotators_of(self.spec.output.annotations)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every label column of the dataset."""
        columns = [*self.plan.columns()]
        columns += [column for annotator in self.annotators for column in annotator.columns(self.info.num_dense)]
        if self.spec.output.image.crop != "full":
            text = "From pixel coordinates of the generator's view to the image's: x′ = M[:, :2] x + M[:, 2]."
            columns.append(Column("crop_matrix", "float32", Origin.RENDERED, text, (2, 3), "px", "image"))
        if self.spec.quality.audit is not None:
            columns += audit_columns(self.spec.quality.audit)
        return check_unique(columns)

    @property
    def sample_files(self) -> tuple[SampleFile, ...]:
        """Every file of a sample besides the label JSON and the class."""
        image = self.spec.output.image
        kind = "jpeg" if image.format == "jpg" else "png"
        text = f"The picture, {image.size} × {image.size} px, sRGB: {CROPS[image.crop]}."
        picture = SampleFile(image.format, f"image/{kind}", Origin.RENDERED, text)
        return (picture, *(file for annotator in self.annotators for file in annotator.files()))

    def fingerprint(self, identities_sha256: str) -> dict[str, Any]:
        """What decides the dataset's bytes, as plain data: two runs with the same one may share a folder."""
        networks = networks_of(self.spec.output.annotations)
        return {
            "format": FORMAT,
            "spec_sha256": self.spec.digest,
            "generator": self.generator.describe(),
            "identities_sha256": identities_sha256,
            "encoder": encoder_versions(self.jpeg),
            "image_size_px": self.spec.output.image.size,
            **({"estimated_by": networks} if networks else {}),
            **({} if self.spec.quality.audit is None else {"audit": self.estimator.digest()}),
        }


def prepare(
    spec: SpecSource, *, generator: str | None = None, device: str = "cpu", jpeg: JpegBackend = "pillow"
) -> Job:
    """Load a spec, check it against its generator and lay it out.

    Args:
        spec: a path, YAML text, a mapping or a `Spec`.
        generator: instead of the spec's own.
        device: where the generator runs.
        jpeg: which encoder.

    Raises:
        SpecError: the spec is wrong; with every problem found.
        GeneratorError: the generator can't be found or loaded.
        DatasetError: identities are to be reused and can't be.
    """
    loaded = load_spec(spec)
    if generator is not None:
        loaded = loaded.replace(generator=generator)
    info = generator_info(loaded.generator)
    resolved = resolve(loaded, info.layout)
    plan = make_plan(resolved, info.layout, tile_size=info.tile_size, reused=_reused(resolved, info))
    return Job(resolved, info, plan, device, jpeg)


def _reused(spec: Spec, info: GeneratorInfo) -> IdentityTable | None:
    """The identities of the dataset that the spec names under `identities.from`."""
    source = spec.identities.reuse
    if source is None:
        return None
    folder = source if "://" in source else str(spec.source.folder / source)
    store = open_store(folder)
    try:
        content = store.read("identities.parquet")
    except FileNotFoundError:
        content = b""
    return read_identities(content, f"{store.url}/identities.parquet", info.layout, spec.identities.count)


# -------------------------------------------------------------------------------------------------- rows to samples


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
    made = _make(job, tile)
    if job.spec.quality.audit is None:
        return made.first(count)
    from synthface.quality.audit import audited

    return audited(job, made, count, lambda samples: _make(job, samples))


def _make(job: Job, tile: Samples) -> Picture:
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


def samples(
    spec: SpecSource, *, generator: str | None = None, device: str = "cpu", start: int = 0, stop: int | None = None
) -> Iterator[dict[str, Any]]:
    """A dataset's samples one by one, without writing anything: dicts as `open_dataset` gives them.

    Args:
        spec, generator, device: as for `render`.
        start, stop: which rows; `start` is rounded down to the beginning of a tile, as pixels are made in whole tiles.

    Identities that must be apart or balanced are chosen first, all of them.

    Yields:
        `key`, `image` (uint8, H × W × 3, before it is encoded), `identity`, `labels`, and the annotations as bytes.
    """
    from synthface.identity_stage import choose_for, chosen_job

    job = prepare(spec, generator=generator, device=device)
    job = chosen_job(job, choose_for(job))
    last = job.plan.num_images if stop is None else min(stop, job.plan.num_images)
    for shard in job.plan.shards:
        low, high = max(start, shard.start), min(last, shard.stop)
        if low >= high:
            continue
        aligned = shard.start + (low - shard.start) // job.info.tile_size * job.info.tile_size
        for begin, end in chunks_of(job, aligned, shard.stop if high == shard.stop else high):
            for part in pictures(job, begin, end):
                yield from _decoded(part, job.columns, low)


def _decoded(part: Picture, columns: Sequence[Column], low: int) -> Iterator[dict[str, Any]]:
    for number, index in enumerate(part.samples.rows.index.tolist()):
        if index >= low:
            labels = {c.name: part.columns[c.name][number] for c in columns}
            plain = {name: v.tolist() if isinstance(v, (np.ndarray, np.generic)) else v for name, v in labels.items()}
            extra = {extension: made[number] for extension, made in part.files.items()}
            yield {
                "key": plain["key"],
                "image": part.images[number],
                "identity": plain["identity"],
                "labels": plain,
                **extra,
            }


def chunks_of(job: Job, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Rows cut into chunks, aligned to `start`."""
    size = LARGE_CHUNK if job.plan.num_images >= LARGE_DATASET else SMALL_CHUNK
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)


# -------------------------------------------------------------------------------------------------------- datasets


def render(
    spec: SpecSource,
    out: str | Path,
    *,
    generator: str | None = None,
    device: str = "cpu",
    workers: int = 1,
    part: tuple[int, int] = (1, 1),
    engine: Literal["local", "ray"] = "local",
    jpeg: JpegBackend = "pillow",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> RenderSummary:
    """Write a dataset, or go on where an earlier run stopped.

    The bytes below `data/` and `labels/` depend on the spec, the generator and the versions in the manifest; not on
    `workers`, `part`, `engine`, or on how often a run was killed.

    Args:
        spec: a path, YAML text, a mapping or a `Spec`.
        out: a folder, or a URL that fsspec knows.
        generator: instead of the spec's own.
        device: where the generator runs: `cpu`, `cuda`, `cuda:1`.
        workers: processes that sample, generate, annotate and encode; 1 does it in this one.
        part: (i, n): only every n-th shard, from the i-th; the last part to finish completes the dataset.
        engine: `local` processes, or an existing `ray` cluster.
        jpeg: the encoder; its name and version go into the manifest.
        on_progress: told after every few images.

    Returns:
        What was done.

    Raises:
        SpecError: the spec is wrong; nothing has been written then.
        IdentityError: no identities are as the spec wants them.
        OutputMismatchError: `out` holds the dataset of another spec.
        OutputBusyError, OutputSpaceError, OutputError: writing isn't possible; what was committed stays.
    """
    from synthface.engines import encoded_chunks
    from synthface.finish import finish
    from synthface.identity_stage import commit_identities

    began = time.monotonic()
    job = prepare(spec, generator=generator, device=device, jpeg=jpeg)
    _check_feasible(job)
    store = open_store(out, create=True)
    job, identities_sha256 = commit_identities(store, job, workers=workers, on_progress=on_progress)
    _check_feasible(job)
    fingerprint = job.fingerprint(identities_sha256)
    mine = list(job.plan.shards)[part[0] - 1 :: part[1]]
    todo = [shard for shard in mine if not is_finished(store, shard, fingerprint)]
    total, done, written = sum(shard.count for shard in todo), 0, 0
    on_progress(Progress(0, total, 0.0))

    def counted(tiles: Iterator[EncodedTile]) -> Iterator[EncodedTile]:
        nonlocal done
        for tile in tiles:
            yield tile
            done += len(tile) + tile.num_dropped
            on_progress(Progress(done, total, time.monotonic() - began))

    with encoded_chunks(
        job, [chunk for shard in todo for chunk in chunks_of(job, shard.start, shard.stop)], workers, engine
    ) as encoded:
        for shard in todo:
            tiles = (next(encoded) for _ in chunks_of(job, shard.start, shard.stop))
            marker = write_shard(store, shard, counted(tiles), job.columns, fingerprint)
            written += marker.tar.bytes + marker.labels.bytes
    missing = finish(store, job, fingerprint)
    summary = RenderSummary(
        out=store.url,
        num_images=total,
        num_already_there=sum(shard.count for shard in mine) - total,
        is_finished=missing == 0,
        num_missing_shards=missing,
        seconds=time.monotonic() - began,
        bytes=written,
        shortfalls=_shortfalls(store, job, missing == 0),
    )
    if total:
        store.write("run.json", _run_record(summary, workers, part, engine))
    return summary


def _run_record(summary: RenderSummary, workers: int, part: tuple[int, int], engine: str) -> bytes:
    """When, where and how the last run went: kept apart from all that is hashed, as it is never the same twice."""
    ended = datetime.now(timezone.utc).isoformat(timespec="seconds")
    how = {"ended": ended, "host": socket.gethostname(), "workers": workers, "part": list(part), "engine": engine}
    return (json.dumps(asdict(summary) | how, indent=1, sort_keys=True) + "\n").encode()


def _shortfalls(store: Store, job: Job, is_finished: bool) -> tuple[str, ...]:
    """What was asked for and isn't there: identities, and once the dataset is finished, pictures and pairs."""
    from synthface.manifest import read_manifest
    from synthface.quality.choice import shortfall
    from synthface.quality.summary import audit_shortfalls

    found = [shortfall(job.chosen.report)] if job.chosen is not None else []
    if is_finished and job.spec.quality.audit is not None:
        found += audit_shortfalls(read_manifest(store)["quality"])
    return tuple(text for text in found if text is not None)


def _check_feasible(job: Job) -> None:
    """What can only fail at the end is tried at the beginning."""
    from synthface.pairs import pair_lists

    for _ in pair_lists(job.plan):
        pass
    if job.spec.quality.audit is not None:
        _ = job.estimator
