"""Does a dataset show somebody from the photos its generator was trained on?

For each identity the nearest photo by f_id, beside a reference: for each photo the nearest other photo. If nobody leaked, an
identity is no nearer to some photo than photos of strangers are to each other, and 1 % of the identities lie below the
reference's 1 % quantile. Many more of them, or any below a distance of your own, is a finding; the sheet of the nearest pairs
shows whether it is the same person. Each side is centred by the mean of its own kind (see `quality.centre`), so that renderings
are compared with photos by face, not by medium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.errors import DatasetError
from synthface.identities import read_chosen
from synthface.manifest import iterate_tar, read_manifest
from synthface.quality.photos import Photos, _decoded, face_of
from synthface.quality.separation import unit
from synthface.shards.labels import labels
from synthface.storage import Store, open_store

if TYPE_CHECKING:
    from PIL.Image import Image

    from synthface.networks.recognition import Recognition

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: The reference's quantile below which no more identities should lie than its share, and how unlikely more must be.
QUANTILE, _CHANCE = 0.01, 0.001
_QUANTILES = (0.001, 0.01, 0.05, 0.5)
#: With fewer identities than this, their own mean is no centre.
_ENOUGH = 32
_BLOCK = 1024


@dataclass(frozen=True)
class Pair:
    """An identity, its nearest photo, and how near."""

    identity: int
    key: str
    photo: str
    distance: float


@dataclass(frozen=True)
class LeakageReport:
    """What a leakage check found.

    Args:
        dataset, photos: what was compared.
        recognition: by which network.
        num_identities, num_photos: how many.
        identity_to_photo, photo_to_photo: quantile to nearest distance.
        threshold: distance below which an identity counts as near.
        num_near: identities below it.
        expected: how many would be by chance; None where the threshold is the user's own.
        p_value: how likely at least as many are by chance; None likewise.
        nearest: the closest pairs, nearest first.
    """

    dataset: str
    photos: str
    recognition: str
    num_identities: int
    num_photos: int
    identity_to_photo: Mapping[str, float]
    photo_to_photo: Mapping[str, float]
    threshold: float
    num_near: int
    expected: float | None
    p_value: float | None
    nearest: tuple[Pair, ...]

    @property
    def has_leaked(self) -> bool:
        """Whether more identities are near than chance allows; with a threshold of one's own, any."""
        return self.num_near > 0 if self.p_value is None else self.p_value < _CHANCE

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"has_leaked": self.has_leaked}


@dataclass(frozen=True)
class Faces:
    """One face of each identity.

    Args:
        identity: (N,) numbers.
        keys: of the samples.
        descriptors: (N, D) raw.
        faces: (N, H, W, 3) as f_id sees them.
    """

    identity: I64
    keys: tuple[str, ...]
    descriptors: F32
    faces: U8


def leakage(
    dataset: str | Path,
    photos: Photos,
    recognition: Recognition,
    *,
    source: str = "",
    threshold: float | None = None,
    num_nearest: int = 24,
    on_faces: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[LeakageReport, Image]:
    """Compare a dataset's identities with photos.

    Args:
        dataset: a finished one, with the annotation `landmarks`.
        photos: see `read_photos`.
        recognition: f_id; the photos' descriptors must be its own.
        source: what the photos are called in the report.
        threshold: a distance of your own, below which no identity may lie; None: see `QUANTILE`.
        num_nearest: closest pairs to report and show.
        on_faces: told (done, total) identities.

    Returns:
        The report, and a sheet of the closest pairs: the identity above, the photo below.

    Raises:
        DatasetError: the dataset isn't finished or has no landmarks.
    """
    store = open_store(dataset)
    manifest = read_manifest(store)
    found = frontal_faces(store, manifest, recognition, on_faces)
    of_photos = unit(photos.descriptors, photos.descriptors.mean(axis=0) if len(photos) >= 1000 else _mean(recognition))
    of_identities = unit(found.descriptors, _centre(store, manifest, found, recognition))
    distance, which = nearest(of_identities, of_photos)
    reference, _ = nearest(of_photos, of_photos, is_same=True)
    limit = float(np.quantile(reference, QUANTILE)) if threshold is None else threshold
    num_near = int((distance < limit).sum())
    order = np.argsort(distance, kind="stable")[:num_nearest]
    pairs = tuple(
        Pair(int(found.identity[n]), found.keys[n], photos.names[which[n]], round(float(distance[n]), 5)) for n in order
    )
    report = LeakageReport(
        dataset=store.url,
        photos=source,
        recognition=recognition.config.name,
        num_identities=len(found.identity),
        num_photos=len(photos),
        identity_to_photo=_quantiles(distance),
        photo_to_photo=_quantiles(reference),
        threshold=limit,
        num_near=num_near,
        expected=None if threshold is not None else QUANTILE * len(distance),
        p_value=None if threshold is not None else _at_least(num_near, len(distance), QUANTILE),
        nearest=pairs,
    )
    return report, _sheet(found, photos, order, which, distance)


def frontal_faces(
    store: Store, manifest: Mapping[str, Any], recognition: Recognition, on_faces: Callable[[int, int], None]
) -> Faces:
    """Each identity's most frontal picture, described."""
    names = [column["name"] for column in manifest["columns"]]
    if "landmarks68_px" not in names:
        raise DatasetError(f"{store.url}: has no label landmarks68_px; render with `output.annotations: [landmarks]`")
    frame = labels(store.url, columns=["key", "identity", "yaw_deg", "pitch_deg", "landmarks68_px"])
    turned = frame.yaw_deg**2 + frame.pitch_deg**2
    chosen = frame.loc[turned.groupby(frame.identity).idxmin()].set_index("key")
    described: dict[str, tuple[F32, U8]] = {}
    extension = manifest["sample_files"][0]["extension"]
    for shard in manifest["shards"]:
        with store.open(shard["tar"]["name"]) as tar:
            for key, files in iterate_tar(tar):
                if key in chosen.index:
                    points = np.asarray(chosen.landmarks68_px[key], np.float32).reshape(68, 2)
                    described[key] = face_of(recognition, _decoded(files[extension]), points)
                    on_faces(len(described), len(chosen))
    keys = tuple(str(key) for key in chosen.index)
    return Faces(
        identity=chosen.identity.to_numpy(np.int64),
        keys=keys,
        descriptors=np.stack([described[key][0] for key in keys]),
        faces=np.stack([described[key][1] for key in keys]),
    )


def _mean(recognition: Recognition) -> F32:
    mean: F32 = recognition.mean.cpu().numpy()
    return mean


def _centre(store: Store, manifest: Mapping[str, Any], found: Faces, recognition: Recognition) -> F32:
    """What comes off the identities' descriptors: their generator's centre."""
    if "weights_sha256" in manifest["generator"]:
        return _mean(recognition)
    chosen = read_chosen(store.read("identities.parquet"))
    if chosen is not None and chosen.report.get("recognition", {}).get("name") == recognition.config.name:
        return np.array(chosen.report["recognition"]["centre"], np.float32)
    return found.descriptors.mean(axis=0) if len(found.identity) >= _ENOUGH else _mean(recognition)


def nearest(vectors: F32, others: F32, *, is_same: bool = False) -> tuple[F32, I64]:
    """Distance (N,) of each unit vector (N, D) to the nearest of others (M, D), and which that is.

    Args:
        vectors, others: centred, of length 1.
        is_same: both are the same set: one isn't its own neighbour.
    """
    distance, which = np.empty(len(vectors), np.float32), np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        rows = slice(start, start + _BLOCK)
        similarity = vectors[rows] @ others.T
        if is_same:
            similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))] = -2.0
        which[rows] = similarity.argmax(axis=1)
        distance[rows] = 1.0 - similarity.max(axis=1)
    return distance, which


def _quantiles(distance: F32) -> dict[str, float]:
    return {f"{q:g}": round(float(np.quantile(distance, q)), 4) for q in _QUANTILES}


def _at_least(found: int, num: int, share: float) -> float:
    """The chance of at least so many of `num`, each with probability `share`."""
    from scipy.stats import binom

    return float(binom.sf(found - 1, num, share))


def _sheet(found: Faces, photos: Photos, order: I64, which: I64, distance: F32) -> Image:
    """The closest pairs side by side: identity above, photo below."""
    from synthface.report.preview import contact_sheet

    rows: list[list[U8]] = []
    for start in range(0, len(order), 8):
        some = order[start : start + 8]
        rows.append([found.faces[n] for n in some])
        rows.append([photos.face(int(which[n])) if photos.face else np.zeros_like(found.faces[n]) for n in some])
    headings = [f"{distance[n]:.2f}" for n in order[:8]]
    return contact_sheet(rows, column_labels=headings, row_labels=["made", "photo"] * (len(rows) // 2), cell_px=112)


def leakage_text(report: LeakageReport) -> str:
    """A report for people."""
    heads = "".join(f"{float(q):10.1%}" for q in report.identity_to_photo)
    lines = [
        f"{report.num_identities} identities against {report.num_photos} photos, by {report.recognition}",
        "",
        f"  nearest distance      {heads}",
        f"  identity to photo     {''.join(f'{value:10.3f}' for value in report.identity_to_photo.values())}",
        f"  photo to other photo  {''.join(f'{value:10.3f}' for value in report.photo_to_photo.values())}",
        "",
    ]
    near = f"{report.num_near} identities are nearer than {report.threshold:.3f} to some photo"
    if report.expected is None:
        return "\n".join([*lines, near])
    chance = f"{report.expected:.1f} would be by chance (p = {report.p_value:.2g})"
    return "\n".join([*lines, f"{near}, the distance that 1 % of the photos have to another; {chance}"])
