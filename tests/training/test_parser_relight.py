"""Relighting photos by their heads' shading gives what the renderer gives, and steadiness is measured on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from synthface.factors import lighting
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import srgb_to_linear
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from synthface.networks.backbones import fold
from synthface.networks.parser import UNetConfig, new_parser, save_parser
from tests.training.figures import prepared_figures
from training.__main__ import main
from training.gan.toy import ToyRecipe, draw_factors
from training.lambda_table import LambdaTable, write_table
from training.parser import relight
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX
from training.photos.prepared import PreparedPhotos


def light(azimuth_deg: float) -> np.ndarray:
    one = np.ones(1)
    return lighting.ambient(0.4 * one) + lighting.directional(azimuth_deg * one, 20 * one, 0.5 * one)


def test_a_relit_rendering_is_the_rendering_in_the_other_light_but_for_exposure() -> None:
    basis = MorphableBasis.load()
    model = MorphableModel(basis)
    factors = Factors.of(draw_factors(basis, 1, ToyRecipe(seed=2)))
    here, there = (factors._replace(sh=torch.from_numpy(light(a)).float()) for a in (40.0, -40.0))
    with torch.no_grad():
        before, after = (render(model, f, 64) for f in (here, there))
    found = srgb_to_linear(relight.relit(model, before.image / 2 + 0.5, here, there.sh))
    wanted = srgb_to_linear(after.image / 2 + 0.5)
    inside = (after.coverage > 0.5).expand(-1, 3, -1, -1) & (wanted > 0.05) & (found < 0.98)
    ratio = (found[inside] / wanted[inside]).log()
    assert inside.float().mean() > 0.2
    assert (ratio - ratio.median()).abs().median() < 0.02
    unlit = (srgb_to_linear(before.image / 2 + 0.5)[inside] / wanted[inside]).log()
    assert (unlit - unlit.median()).abs().median() > 0.15


def test_values_spread_beyond_what_is_known() -> None:
    values = torch.zeros(1, 1, 32, 32)
    values[..., :16] = 1.0
    weight = torch.zeros(1, 1, 32, 32)
    weight[..., 8:24, 8:24] = 1.0
    spread = relight._spread(values, weight)
    torch.testing.assert_close(spread[..., 8:24, 8:24], values[..., 8:24, 8:24])
    assert spread[0, 0, 16, 2] > 0.8
    assert spread[0, 0, 16, 30] < 0.2


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_figures(tmp_path_factory.mktemp("figures") / "prepared", 3)


def test_photos_are_seen_in_the_frame_that_was_fitted(prepared: Path) -> None:
    photos = PreparedPhotos(prepared)
    own = photos.rows.crop[0]
    canvas = torch.from_numpy(np.array(photos.photo(0))).permute(2, 0, 1).float() / 255
    frame = canvas[:, MARGIN_PX : MARGIN_PX + FRAME_PX, MARGIN_PX : MARGIN_PX + FRAME_PX]
    wanted = torch.nn.functional.avg_pool2d(frame[None], 2)
    torch.testing.assert_close(relight._seen(photos, 0, own), wanted, atol=1e-3, rtol=0)
    # Fitted 10 px of the frame further right in the photo: what was seen there is now 10 px further left.
    moved = relight._seen(photos, 0, own - np.float32([0, 10, 0]))
    torch.testing.assert_close(moved[..., :100], wanted[..., 5:105], atol=1e-3, rtol=0)
    assert CANVAS_PX == FRAME_PX + 2 * MARGIN_PX


def test_the_command_measures_a_network_on_photos_it_wasnt_trained_on(prepared: Path, tmp_path: Path) -> None:
    basis, photos = MorphableBasis.load(), PreparedPhotos(prepared)
    table = LambdaTable.of(draw_factors(basis, 3, ToyRecipe()), photos.rows.key, basis.expression_names, basis.name)
    write_table(tmp_path / "lambda.parquet", table, extra={"crop": photos.rows.crop})
    torch.manual_seed(0)
    parser = new_parser(UNetConfig((8, 8), (0, 0), size_px=64))
    torch.nn.init.normal_(parser.network.last.weight, std=0.5)  # type: ignore[union-attr]
    fold(parser.eval())
    save_parser(tmp_path / "network", parser)
    arguments = ["parser", "relight", str(tmp_path / "network"), str(prepared), str(tmp_path / "lambda.parquet")]
    figures = json.loads(CliRunner(catch_exceptions=False).invoke(main, arguments).stdout)
    assert figures["num_photos"] == 3
    assert 0 < figures["mean_square"] < figures["mean_change"] < 1
