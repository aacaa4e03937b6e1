"""The mean descriptor over many people, and how far apart it puts strangers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.errors import PhotoError
from synthface.networks.recognition import Recognition
from training.photos.given import GivenLandmarks
from training.photos.load import list_photos, load_photo
from training.photos.prepared import TABLE, PreparedPhotos

U8 = npt.NDArray[np.uint8]

_CHUNK = 16
#: Shares of strangers' pairs whose distance is reported: thresholds at these false-accept rates, and the median.
_RATES = (0.0001, 0.001, 0.01, 0.5)


def with_mean(
    network: Recognition, photos: Path, landmarks: Path | None = None, report: Callable[[int], None] = lambda num: None
) -> Recognition:
    """The network with the mean descriptor of these photos, each of another person, and figures in its card.

    Args:
        network: whose mean is to be measured.
        photos: a folder of photos, or what `python -m training prepare` wrote.
        landmarks: of a folder of photos; see `GivenLandmarks`.
        report: called with the number of photos seen.
    """
    descriptors = describe(network, photos, landmarks, report)
    mean = descriptors.mean(dim=0)
    figures = {"num_photos": len(descriptors), "strangers": strangers(descriptors - mean)}
    config = dataclasses.replace(network.config, card={**network.config.card, "measured": figures})
    return Recognition(config, network.network, mean).eval().requires_grad_(False)


@torch.no_grad()
def describe(
    network: Recognition, photos: Path, landmarks: Path | None = None, report: Callable[[int], None] = lambda num: None
) -> Tensor:
    """Raw descriptors (M, D) of all photos that have landmarks.

    Raises:
        PhotoError: there are none, or five landmarks only: eyes, nose tip and mouth don't lay this crop.
    """
    chips: list[Tensor] = []
    rows: list[Tensor] = []
    for image, points in _faces(photos, landmarks):
        if len(points) == 5:
            raise PhotoError(f"{photos}: five landmarks each; allowed: 68 or 468, which hold the corners of the eyes")
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0
        size = torch.tensor([image.shape[1], image.shape[0]])
        chips.append(network.crop(pixels, (torch.from_numpy(points) / size)[None].float()))
        if len(chips) == _CHUNK:
            rows.append(network.network(torch.cat(chips)))
            chips = []
            report(_CHUNK * len(rows))
    if chips:
        rows.append(network.network(torch.cat(chips)))
    if sum(map(len, rows)) < 2:
        raise PhotoError(f"{photos}: {sum(map(len, rows))} photos with landmarks; give at least 2, better thousands")
    return torch.cat(rows)


def photo_names(photos: Path, landmarks: Path | None = None) -> tuple[str, ...]:
    """The names of the photos that `describe` describes, in its order."""
    if (photos / TABLE).is_file():
        return PreparedPhotos(photos).rows.source
    sources = list_photos(photos).sources
    if landmarks is None:
        raise PhotoError(f"{photos}: not a prepared folder; name a file of landmarks, or run `prepare` first")
    given = GivenLandmarks(landmarks, sources)
    return tuple(source for source in sources if given.of(source) is not None)


def strangers(centred: Tensor) -> dict[str, Any]:
    """How far apart all pairs of descriptors (M, D) are, as 1 − cos: at false-accept rates and the median."""
    unit = F.normalize(centred, dim=1)
    num = len(unit)
    upper = torch.triu_indices(num, num, offset=1)
    distances = np.sort((1.0 - (unit @ unit.T)[upper[0], upper[1]]).numpy())
    at = {f"{rate:g}": round(float(distances[int(rate * (len(distances) - 1))]), 4) for rate in _RATES}
    return {"num_pairs": len(distances), "centred_distance_at": at}


def _faces(photos: Path, landmarks: Path | None) -> Iterator[tuple[U8, npt.NDArray[Any]]]:
    """Pictures (H, W, 3) and landmarks (L, 2), px."""
    if (photos / TABLE).is_file():
        prepared = PreparedPhotos(photos)
        yield from ((prepared.photo(n), prepared.rows.landmarks[n].astype(np.float64)) for n in range(len(prepared)))
        return
    sources = list_photos(photos).sources
    if landmarks is None:
        raise PhotoError(f"{photos}: not a prepared folder; name a file of landmarks, or run `prepare` first")
    given = GivenLandmarks(landmarks, sources)
    for source in sources:
        points = given.of(source)
        if points is not None:
            yield np.asarray(load_photo(photos / source)), points
