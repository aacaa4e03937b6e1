"""The face parser: any size in, the same size out, gradients to the picture, and folders that check themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from synthface.errors import GeneratorError
from synthface.networks.backbones import fold
from synthface.networks.parser import CLASSES, Parser, UNetConfig, hair, load_parser, new_parser, save_parser

SMALL = UNetConfig((8, 12, 16), (1, 0, 1), size_px=64)


def pictures(num: int = 2, height: int = 64, width: int = 64) -> torch.Tensor:
    coarse = torch.rand(num, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return F.interpolate(coarse, size=(height, width), mode="bilinear")


@pytest.fixture(scope="module")
def parser() -> Parser:
    """Random weights, normalisation that has seen something."""
    torch.manual_seed(0)
    parser = new_parser(SMALL)
    parser.train()(pictures())
    return parser.eval().requires_grad_(False)


@pytest.fixture
def saved(parser: Parser, tmp_path: Path) -> Path:
    copy = new_parser(SMALL)
    copy.load_state_dict(parser.state_dict())
    fold(copy.eval())
    save_parser(tmp_path / "network", copy)
    return tmp_path / "network"


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 96), (37, 51), (128, 80), (256, 256)])
def test_logits_have_the_pictures_size(parser: Parser, height: int, width: int) -> None:
    assert parser(pictures(height=height, width=width)).shape == (2, len(CLASSES), height, width)


@pytest.mark.parametrize("side", [192, 32])
def test_pictures_are_read_at_the_networks_own_size(parser: Parser, side: int) -> None:
    given = pictures(height=side, width=side)
    own = F.interpolate(given, size=(64, 64), mode="bilinear", antialias=True)
    expected = F.interpolate(parser(own), size=(side, side), mode="bilinear", antialias=True)
    torch.testing.assert_close(parser(given), expected)


def test_folding_changes_nothing_but_rounding(parser: Parser, saved: Path) -> None:
    loaded = load_parser(saved)
    assert (loaded(pictures()) - parser(pictures())).abs().max() < 0.05
    assert not any("running" in name for name, _ in loaded.named_buffers())


def test_gradients_reach_the_pictures_and_not_the_weights(saved: Path) -> None:
    network = hair(saved.parent, network="network")
    seen = pictures().requires_grad_()
    probability = network(seen)
    assert probability.shape == (2, 1, 64, 64)
    assert 0 <= probability.min() <= probability.max() <= 1
    probability.sum().backward()
    assert seen.grad is not None
    assert seen.grad.abs().sum() > 0
    assert not any(weights.requires_grad for weights in network.parameters())


def test_probabilities_are_of_the_class_that_was_named(parser: Parser) -> None:
    total = sum(parser.probability(pictures(), name) for name in CLASSES)
    torch.testing.assert_close(total, torch.ones(2, 1, 64, 64))


def test_a_missing_folder_says_what_there_is() -> None:
    with pytest.raises(GeneratorError, match="no parser network there"):
        load_parser("nowhere")


def test_damaged_weights_are_noticed(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(GeneratorError, match="SHA-256"):
        load_parser(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "synthface-parser-0"}, "format is"),
        ({"architecture": "transformer"}, "allowed: unet"),
        ({"settings": {"widths": [8, 12, 20], "blocks": [1, 0, 1], "size_px": 64}}, "doesn't fit"),
        ({"settings": {"widths": [8]}}, "doesn't fit"),
        ({"surprise": 1}, "another version"),
    ],
)
def test_configs_that_dont_fit_are_turned_down(saved: Path, changes: dict[str, object], message: str) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(GeneratorError, match=message):
        load_parser(saved)


def test_a_config_needs_a_block_count_per_width() -> None:
    with pytest.raises(ValueError, match="one of each"):
        UNetConfig((8, 8), (1,))


def test_its_own_size_must_halve_at_each_width() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        UNetConfig((8, 8, 8), (0, 0, 0), size_px=100)
