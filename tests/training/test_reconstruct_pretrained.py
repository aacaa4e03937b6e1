"""The face mesh's weights in torch say what its own interpreter says, and a network of other sizes is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from synthface.networks.backbones import BACKBONES, BackboneConfig
from synthface.networks.trunks import LandmarkReader
from training.photos.tflite import Network
from training.reconstruct.pretrained import start_pretrained

PUBLISHED = BackboneConfig(
    size_px=128, stem=16, widths=(16, 32, 64, 128, 128), blocks=(2, 2, 2, 2, 2), grid=4, features=8
)


def test_the_port_finds_the_landmarks_that_the_interpreter_finds() -> None:
    reader = BACKBONES["landmarks"](PUBLISHED)
    assert isinstance(reader, LandmarkReader)
    start_pretrained(reader)
    square = np.random.default_rng(0).random((192, 192, 3)).astype(np.float32)
    expected = max((output.reshape(-1) for output in Network("face_landmark")(square)), key=len)
    with torch.no_grad():
        found, _ = reader.layers(torch.from_numpy(square).permute(2, 0, 1)[None] * 2 - 1)
    assert np.abs(found.numpy().reshape(-1) - expected).max() < 0.01


def test_the_trunk_is_the_same_layers() -> None:
    trunk, reader = BACKBONES["facemesh"](PUBLISHED), BACKBONES["landmarks"](PUBLISHED)
    start_pretrained(trunk)
    start_pretrained(reader)
    images = torch.rand(1, 3, 192, 192) * 2 - 1
    with torch.no_grad():
        assert torch.allclose(trunk.layers(images), reader.layers.trunk(images))  # type: ignore[union-attr]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="aren't the face mesh's"):
        start_pretrained(BACKBONES["facemesh"](replace(PUBLISHED, stem=8, widths=(8, 32, 64, 128, 128))))


def test_backbones_without_published_weights_stay_as_they_are() -> None:
    plain = BACKBONES["plain"](BackboneConfig(size_px=32, widths=(4, 4), blocks=(0, 0), grid=2))
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    start_pretrained(plain)
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
