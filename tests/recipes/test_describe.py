"""Descriptors don't know a picture from its mirror image, and scores are cosines of the right pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from recipes.recognition.describe import cosines, describe, describe_all
from recipes.recognition.networks import NetworkSettings, make_network
from recipes.recognition.pairs import PairSet
from synthface.errors import DatasetError


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return make_network(NetworkSettings("mobilefacenet", 32, 0.0625, 8)).eval()


def shuffled(pictures: np.ndarray, order: list[int]) -> PairSet:
    def give() -> Iterator[tuple[int, np.ndarray]]:
        return ((n, pictures[n]) for n in order)

    a, b = np.array([0, 1, 2]), np.array([1, 2, 0])
    return PairSet("test", len(pictures), give, a, b, np.array([True, False, True]), np.zeros(3, np.int64))


def test_a_mirror_image_has_the_same_descriptor(network: torch.nn.Module) -> None:
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    one, other = describe(network, x), describe(network, x.flip(3))
    assert torch.allclose(one, other, atol=1e-6)
    assert torch.allclose(one.norm(dim=1), torch.ones(2))
    assert not torch.allclose(one[0], one[1], atol=1e-3)


def test_descriptors_land_at_their_pictures_whatever_the_order_and_batch(network: torch.nn.Module) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    one = describe_all(network, shuffled(pictures, [0, 1, 2]), 32, batch=3)
    other = describe_all(network, shuffled(pictures, [2, 0, 1]), 32, batch=2)
    assert np.allclose(one, other, atol=1e-5)
    scores = cosines(one, shuffled(pictures, [0, 1, 2]))
    assert scores == pytest.approx([one[0] @ one[1], one[1] @ one[2], one[2] @ one[0]], abs=1e-6)


def test_a_missing_picture_is_an_error(network: torch.nn.Module) -> None:
    pictures = np.zeros((3, 32, 32, 3), np.uint8)
    with pytest.raises(DatasetError, match="1 of 3 pictures are missing"):
        describe_all(network, shuffled(pictures, [0, 2]), 32)
