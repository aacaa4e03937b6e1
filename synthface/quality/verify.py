"""Auditing a dataset that is there: every label held against what estimators read off its picture.

Pictures are judged one by one, as while rendering, and all together: an error that all of them share (ten degrees on every yaw)
may be too small to fail a picture, yet shows in the median of signed differences, with its size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.crops import view_size_px
from synthface.errors import DatasetError
from synthface.identities import read_chosen
from synthface.manifest import iterate_tar, read_manifest
from synthface.quality.estimators import DEFAULT, load_estimator, read_pictures, shared_actions
from synthface.quality.residuals import Facts, excess, residuals, signed
from synthface.quality.separation import unit
from synthface.quality.summary import mean_and_error
from synthface.seeding import uniforms
from synthface.shards.labels import IN_THIS_THREAD, columns_of, values_of
from synthface.spec.names import AUDIT_LIMITS
from synthface.storage import Store, open_store

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: How far the median of all signed differences may be from 0: beyond what estimators show on faultless renderings.
BIAS_LIMITS: Mapping[str, float] = {
    "yaw_deg": 2.0,
    "pitch_deg": 2.5,
    "roll_deg": 1.5,
    "light_azimuth_deg": 6.0,
    "light_elevation_deg": 12.0,
    "landmarks_x": 0.015,
    "landmarks_y": 0.015,
}
#: Share of pictures that may fail before a dataset is called faulty: what faultless ones show at most.
ALLOWED = 0.01
_BATCH = 32


@dataclass(frozen=True)
class FailedSample:
    """A picture that isn't what its labels say: what is off, in its own units and as shares of the limits."""

    key: str
    residuals: Mapping[str, float]
    excess: float


@dataclass(frozen=True)
class Bias:
    """What all pictures share: the median of estimate minus label, its standard error, and what is let pass."""

    name: str
    median: float
    error: float
    limit: float

    @property
    def is_off(self) -> bool:
        """Whether it is too large to be the estimator's, and no accident of few pictures."""
        return abs(self.median) > max(self.limit, 4.0 * self.error)

    def __str__(self) -> str:
        unit = "°" if self.name.endswith("_deg") else " of the face's size"
        name = self.name.removesuffix("_deg").replace("_", " ")
        return f"{name}: labels are off by {-self.median:+.3g} ± {self.error:.2g}{unit} against what is seen, in all pictures"


@dataclass(frozen=True)
class LabelReport:
    """What an audit of a dataset found.

    Args:
        url: the dataset.
        num_images: in it.
        num_checked: that were looked at.
        limits: factor to its limit.
        allowed: share of failing pictures that is let pass.
        factors: factor to how many are beyond its limit, and quantiles of its residual.
        failed: the pictures that are beyond any limit, in the dataset's order.
        biases: of every signed difference.
    """

    url: str
    num_images: int
    num_checked: int
    limits: Mapping[str, float]
    allowed: float
    factors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    failed: tuple[FailedSample, ...] = ()
    biases: tuple[Bias, ...] = ()

    @property
    def problems(self) -> list[str]:
        """What is wrong with the dataset, in words."""
        found = [str(bias) for bias in self.biases if bias.is_off]
        if len(self.failed) > self.allowed * self.num_checked:
            share = len(self.failed) / self.num_checked
            found.append(
                f"{len(self.failed)} of {self.num_checked} pictures ({share:.1%}) aren't what their labels say; "
                f"up to {self.allowed:.1%} is let pass"
            )
        return found

    @property
    def is_sound(self) -> bool:
        """Whether no more pictures fail than faultless ones do, and nothing is off in all of them."""
        return not self.problems


def verify_labels(
    dataset: str | Path,
    *,
    limits: Mapping[str, float | None] | None = None,
    bias_limits: Mapping[str, float] = BIAS_LIMITS,
    allowed: float = ALLOWED,
    fraction: float = 1.0,
    estimator: str = DEFAULT,
    device: str = "cpu",
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> LabelReport:
    """Audit a finished dataset.

    Args:
        dataset: folder or URL.
        limits: factor to its limit, instead of `AUDIT_LIMITS`; None: not looked at.
        bias_limits: signed difference to the largest median that is let pass.
        allowed: share of failing pictures that is let pass.
        fraction: share of the pictures to look at.
        estimator: what reads the factors.
        device: where to compute.
        on_images: told (done, total) after every few.

    Raises:
        DatasetError: there is no finished dataset, or it lacks labels that an audit needs.
        GeneratorError: there is no such estimator.
    """
    store = open_store(dataset)
    manifest = read_manifest(store)
    asked = {**AUDIT_LIMITS, **(limits or {})}
    wanted: dict[str, float] = {name: limit for name, limit in asked.items() if limit is not None}
    if unknown := sorted(set(wanted) - set(AUDIT_LIMITS)):
        raise DatasetError(f"no limit {unknown[0]!r}; allowed: {', '.join(AUDIT_LIMITS)}")
    reader = _Reader(store, manifest, estimator, device, with_identity="identity" in wanted)
    keys, identities, labelled, read = _all(reader, fraction, on_images)
    if not keys:
        return LabelReport(store.url, manifest["counts"]["images"], 0, wanted, allowed)
    labelled, read = reader.with_references(identities, labelled, read)
    found = {name: values for name, values in residuals(labelled, read).items() if name in wanted}
    beyond = excess(found, wanted)
    failed = tuple(
        FailedSample(keys[n], {name: round(float(values[n]), 5) for name, values in found.items()}, float(beyond[n]))
        for n in np.flatnonzero(beyond > 1.0)
    )
    return LabelReport(
        url=store.url,
        num_images=manifest["counts"]["images"],
        num_checked=len(keys),
        limits=wanted,
        allowed=allowed,
        factors={name: _figures(values, wanted[name]) for name, values in found.items()},
        failed=failed,
        biases=tuple(
            _bias(name, values, bias_limits[name])
            for name, values in signed(labelled, read).items()
            if name in bias_limits
        ),
    )


def _figures(values: F32, limit: float) -> dict[str, float]:
    quantiles = {name: float(np.quantile(values, q)) for name, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99))}
    return {"limit": limit, "failed": int((values > limit).sum()), **quantiles}


def _bias(name: str, values: F32, limit: float) -> Bias:
    """The median with a standard error that outliers don't widen."""
    about = mean_and_error(values)
    spread = 1.4826 * float(np.median(np.abs(values - about["median"])))
    return Bias(name, about["median"], 1.2533 * spread / float(np.sqrt(len(values))), limit)


def _all(
    reader: _Reader, fraction: float, on_images: Callable[[int, int], None]
) -> tuple[list[str], I64, Facts, Facts]:
    """Keys, identities, labels and readings of all pictures that are looked at."""
    keys: list[str] = []
    parts: list[tuple[I64, Facts, Facts]] = []
    total = max(1, round(fraction * reader.num_images))
    for batch_keys, *part in reader.batches(fraction):
        keys += batch_keys
        parts.append(tuple(part))  # type: ignore[arg-type]
        on_images(len(keys), total)
    if not parts:
        nothing = Facts(np.empty((0, 3)), np.empty((0, 0)), np.empty((0, 3, 9)))
        return [], np.empty(0, np.int64), nothing, nothing
    identities, labelled, read = zip(*parts, strict=True)
    return keys, np.concatenate(identities), _joined(labelled), _joined(read)


def _joined(parts: tuple[Facts, ...]) -> Facts:
    def joined(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    return Facts(**{name: joined(name) for name in vars(parts[0])})


class _Reader:
    """A dataset's pictures and labels, batch by batch, with what is read off them.

    Args:
        store, manifest: the dataset.
        estimator: name.
        device: where to compute.
        with_identity: whether f_id looks, too.
    """

    def __init__(
        self, store: Store, manifest: Mapping[str, Any], estimator: str, device: str, *, with_identity: bool
    ) -> None:
        self._store, self._manifest, self._device = store, manifest, device
        self.num_images = int(manifest["counts"]["images"])
        self._columns = {column["name"]: column for column in manifest["columns"]}
        self._names = [n.removeprefix("expression_") for n in self._columns if n.startswith("expression_")]
        self._estimator = load_estimator(estimator, device=device)
        self._shared = shared_actions(self._estimator, self._names)
        self._has_landmarks = "landmarks68_px" in self._columns
        self._is_cropped = "crop_matrix" in self._columns
        size = int(manifest["fingerprint"]["image_size_px"])
        self._view_px = view_size_px("arcface", size) if self._is_cropped else size
        self._chosen, self._recognition = None, None
        if with_identity:
            from synthface.networks.recognition import load_recognition

            self._recognition = load_recognition().to(device)
            self._chosen = read_chosen(store.read("identities.parquet"))

    def batches(self, fraction: float) -> Iterator[tuple[list[str], I64, Facts, Facts]]:
        """Keys, identities, what labels say, and what is read; descriptors raw as yet."""
        extension = self._manifest["sample_files"][0]["extension"]
        for shard in self._manifest["shards"]:
            values = self._labels(shard["labels"]["name"])
            looked_at = uniforms(0, "verify/fraction", values["index"])[:, 0] < fraction
            waiting: list[tuple[int, U8]] = []
            with self._store.open(shard["tar"]["name"]) as tar:
                for row, (key, files) in enumerate(iterate_tar(tar)):
                    if row >= len(looked_at) or values["key"][row] != key:
                        raise DatasetError(
                            f"{self._store.url}/{shard['tar']['name']}: sample {key} isn't in the order of its labels; "
                            "run `synthface verify` without --labels first"
                        )
                    if looked_at[row]:
                        waiting.append((row, _decoded(files[extension])))
                    if len(waiting) == _BATCH:
                        yield self._read(values, waiting)
                        waiting = []
            if waiting:
                yield self._read(values, waiting)

    def _labels(self, name: str) -> dict[str, npt.NDArray[Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = ["key", "index", "identity", "yaw_deg", "pitch_deg", "roll_deg", "sh"]
        wanted += [f"expression_{action}" for action in self._names]
        wanted += ["landmarks68_px"] * self._has_landmarks + ["crop_matrix"] * self._is_cropped
        with self._store.open(name) as file:
            table = pq.read_table(pa.PythonFile(file, mode="r"), columns=wanted, **IN_THIS_THREAD)
        return {column.name: values_of(table.column(column.name), column) for column in columns_of(table.schema)}

    def _read(
        self, values: Mapping[str, npt.NDArray[Any]], waiting: list[tuple[int, U8]]
    ) -> tuple[list[str], I64, Facts, Facts]:
        rows = np.array([row for row, _ in waiting])
        images = np.stack([image for _, image in waiting])
        landmarks = values["landmarks68_px"][rows] if self._has_landmarks else None
        if self._is_cropped:
            matrices = values["crop_matrix"][rows].astype(np.float64)
            images = np.stack([_uncropped(i, m, self._view_px) for i, m in zip(images, matrices, strict=True)])
            landmarks = None if landmarks is None else _in_view(landmarks, matrices)
        labelled = Facts(
            pose_rad=np.radians(np.stack([values[f"{axis}_deg"][rows] for axis in ("pitch", "yaw", "roll")], axis=1)),
            expression=np.stack([values[f"expression_{n}"][rows] for n in self._names], axis=1) * self._shared,
            sh=values["sh"][rows],
            landmarks=None if landmarks is None else landmarks / self._view_px,
        )
        read = read_pictures(
            images,
            self._estimator,
            self._names,
            recognition=self._recognition,
            landmarks=labelled.landmarks,
            device=self._device,
        )
        return values["key"][rows].tolist(), values["identity"][rows], labelled, read

    def with_references(self, identities: I64, labelled: Facts, read: Facts) -> tuple[Facts, Facts]:
        """Both with descriptors to compare: of standard pictures where the dataset has them, else of the identity's others."""
        if read.descriptors is None:
            return labelled, read
        stored = self._chosen if self._chosen is not None and self._chosen.descriptors is not None else None
        # Without a stored centre, the dataset's own: it takes off what all pictures of this generator share.
        centre = np.asarray(stored.report["recognition"]["centre"]) if stored else read.descriptors.mean(axis=0)
        mine = unit(read.descriptors, centre)
        if stored is not None and stored.descriptors is not None:
            theirs = stored.descriptors[identities]
        else:
            theirs = _others(mine, identities)
        facts = {**vars(labelled), "descriptors": theirs}, {**vars(read), "descriptors": mine}
        return Facts(**facts[0]), Facts(**facts[1])


def _others(vectors: F32, identities: I64) -> F32:
    """The mean descriptor (N, D) of the other pictures of the same identity, of length 1; one's own where it is alone."""
    numbers = np.unique(identities, return_inverse=True)[1]
    sums = np.zeros((numbers.max(initial=0) + 1, vectors.shape[1]))
    np.add.at(sums, numbers, vectors.astype(np.float64))
    rest = sums[numbers] - vectors
    alone = np.bincount(numbers)[numbers] == 1
    rest[alone] = vectors[alone]
    return unit(rest, np.zeros(vectors.shape[1]))


def _decoded(content: bytes) -> U8:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _uncropped(image: U8, matrix: npt.NDArray[np.float64], view_px: int) -> U8:
    """A crop put back where it was cut from, its edge pixels drawn out to the view's edges."""
    from PIL import Image

    margin = view_px
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    shifted = matrix + np.array([[0, 0, margin], [0, 0, margin]])
    coefficients = tuple(shifted.ravel().tolist())
    size, affine = (view_px, view_px), Image.Transform.AFFINE
    return np.asarray(Image.fromarray(padded).transform(size, affine, coefficients, Image.Resampling.BILINEAR))


def _in_view(points: npt.NDArray[np.floating], matrices: npt.NDArray[np.float64]) -> F32:
    """Points (N, L, 2) of crops in the views that they were cut from."""
    inverse = np.linalg.inv(matrices[:, :, :2])
    return np.einsum("nij,nlj->nli", inverse, points - matrices[:, None, :, 2]).astype(np.float32)


def report_text(report: LabelReport) -> str:
    """An audit's figures for people."""
    lines = [
        f"{report.num_checked} of {report.num_images} pictures looked at, {len(report.failed)} are beyond a limit",
        "",
        "  factor        limit   median      90 %      99 %    beyond",
    ]
    for name, found in report.factors.items():
        numbers = " ".join(f"{found[key]:9.3f}" for key in ("median", "p90", "p99"))
        lines.append(f"  {name:11s} {found['limit']:7.3g} {numbers} {found['failed']:9d}")
    lines += ["", "  all together      median of estimate minus label"]
    for bias in report.biases:
        mark = "  <-- off" if bias.is_off else ""
        lines.append(f"  {bias.name:18s} {bias.median:+9.3f} ± {bias.error:.3f}  (let pass: {bias.limit:g}){mark}")
    return "\n".join(lines)


def failed_csv(report: LabelReport) -> str:
    """The failing samples as CSV: key, worst share of a limit, residuals."""
    names = list(report.factors)
    rows = [",".join(["key", "excess", *names])]
    for sample in report.failed:
        rows.append(",".join([sample.key, f"{sample.excess:.3f}", *(f"{sample.residuals[n]:g}" for n in names)]))
    return "\n".join(rows) + "\n"
