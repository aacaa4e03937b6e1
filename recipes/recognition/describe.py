"""Pictures to descriptors, and pairs to scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.common.pictures import NO_CHANGE, augment
from recipes.recognition.pairs import PairSet
from recipes.recognition.training import as_input
from synthface.errors import DatasetError

U8 = npt.NDArray[np.uint8]


@torch.inference_mode()
def describe(network: nn.Module, pictures: Tensor) -> Tensor:
    """Unit descriptors (N, D) of pictures (N, 3, H, W) uint8: the sum of the picture's and of its mirror image's."""
    x = as_input(pictures)
    return F.normalize(network(x) + network(x.flip(3))).float()


def describe_all(
    network: nn.Module, pairs: PairSet, size_px: int, *, device: torch.device | str = "cpu", batch: int = 128
) -> npt.NDArray[np.float32]:
    """Unit descriptors (N, D) of a pair set's pictures, brought to the network's size.

    Raises:
        DatasetError: a picture is missing.
    """
    network.to(device).eval()
    result: npt.NDArray[np.float32] | None = None
    found = np.zeros(pairs.num_pictures, bool)
    for numbers, pictures in _batches(pairs, size_px, batch):
        values = describe(network, torch.from_numpy(pictures).to(device)).cpu().numpy()
        if result is None:
            result = np.zeros((pairs.num_pictures, values.shape[1]), np.float32)
        result[numbers] = values
        found[numbers] = True
    if result is None or not found.all():
        raise DatasetError(f"{pairs.name}: {int((~found).sum())} of {pairs.num_pictures} pictures are missing")
    return result


def cosines(descriptors: npt.NDArray[np.float32], pairs: PairSet) -> npt.NDArray[np.float64]:
    """Scores (P,) of unit descriptors (N, D)."""
    a, b = (descriptors[side].astype(np.float64) for side in (pairs.a, pairs.b))
    return np.asarray((a * b).sum(axis=1))


def _batches(pairs: PairSet, size_px: int, batch: int) -> Iterator[tuple[list[int], U8]]:
    numbers: list[int] = []
    pictures: list[U8] = []
    rng = np.random.default_rng(0)  # nothing is drawn that shows
    for number, picture in pairs.pictures():
        numbers.append(number)
        pictures.append(augment(picture, size_px, NO_CHANGE, rng)[0].transpose(2, 0, 1))
        if len(pictures) == batch:
            yield numbers, np.stack(pictures)
            numbers, pictures = [], []
    if pictures:
        yield numbers, np.stack(pictures)
