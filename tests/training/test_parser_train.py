"""Training the face parser: augmentation keeps labels true, runs resume, and figures say what they claim."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from synthface.errors import DatasetError, SpecError
from synthface.networks.parser import CLASSES, HairParser, Parser, ParserConfig, UNetConfig, load_parser, new_parser
from tests.training.figures import matte_of, prepared_figures
from training.__main__ import main
from training.gan.frozen import load_frozen, name_frozen
from training.parser import measure as figures_of
from training.parser.augment import Augmentation, Labelled, framed, gain_fields, moved, recoloured, sizes_of_steps
from training.parser.labels import LABEL_PX, Labels, LabelsRecipe, write_labels
from training.parser.pseudo import UNSURE
from training.parser.train import ParserRecipe, class_weights, split_rows, train
from training.recipe import load_recipe, parse

TINY = Path(__file__).parents[2] / "recipes" / "tiny.yaml"
RECIPE = ParserRecipe(
    network=UNetConfig((8, 8, 8), (0, 0, 0), size_px=32),
    sizes_px=(32, 24),
    steps=4,
    batch=2,
    held_out=0.4,
    log_every=2,
    checkpoint_every=2,
)


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_figures(tmp_path_factory.mktemp("figures") / "prepared", 6)


@pytest.fixture(scope="module")
def labels(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labels") / "out"
    write_labels(prepared, out, LabelsRecipe(), matte=matte_of)
    return out


def coded(num: int = 4) -> Labelled:
    """Photos whose red says the label: blobs of four classes; mattes that are 1 where the label isn't background."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 4, (num, 1, 10, 10), generator=rng).float()
    labels = torch.nn.functional.interpolate(coarse, size=(LABEL_PX, LABEL_PX))[:, 0].to(torch.uint8)
    photos = (labels[:, None].float() / 4).expand(-1, 3, -1, -1).contiguous()
    return Labelled(photos, labels, (labels[:, None] > 0).float())


@pytest.mark.parametrize("size_px", [128, 64])
def test_labels_move_with_their_photos(size_px: int) -> None:
    seen = moved(coded(), Augmentation(zoom=(0.6, 0.8)), size_px, generator=torch.Generator().manual_seed(1))
    sure = seen.labels != UNSURE
    assert seen.photos.shape == (4, 3, size_px, size_px)
    assert 0.5 < sure.float().mean() < 0.99  # beyond the canvas it is unsure
    agree = (seen.photos[:, 0] * 4 - seen.labels.float()).abs()[sure] < 0.3
    assert agree.float().mean() > (0.85 if size_px == 128 else 0.7)  # all but the blobs' edges


def test_half_of_the_photos_are_mirrored() -> None:
    ramp = torch.linspace(0, 1, LABEL_PX).expand(64, 3, LABEL_PX, LABEL_PX)
    still = Augmentation(zoom=(1.0, 1.0), turn_deg=0, shift=0)
    canvases = Labelled(
        ramp, torch.zeros(64, LABEL_PX, LABEL_PX, dtype=torch.uint8), torch.ones(64, 1, LABEL_PX, LABEL_PX)
    )
    seen = moved(canvases, still, 32, generator=torch.Generator().manual_seed(0))
    rising = seen.photos[:, 0, 0, -1] > seen.photos[:, 0, 0, 0]
    assert 20 < rising.sum() < 44
    torch.testing.assert_close(seen.photos[~rising], framed(canvases, 32).photos[~rising].flip(3), atol=1e-5, rtol=0)


def test_backgrounds_change_behind_people_and_light_on_them() -> None:
    seen = framed(coded(), 64)
    only_background = Augmentation(relight=0, tint=0, exposure=0, background=1.0, blur_px=0, noise=0)
    found = [recoloured(seen, only_background, generator=torch.Generator().manual_seed(n)) for n in (0, 1)]
    is_background = (seen.labels == 0)[:, None].expand(-1, 3, -1, -1)
    assert (found[0] - found[1])[is_background].abs().mean() > 0.2
    relit = recoloured(
        seen, replace(only_background, relight=1.0, background=0.0), generator=torch.Generator().manual_seed(2)
    )
    assert -1 <= relit.min() < relit.max() <= 1


def test_gain_fields_are_smooth_and_leave_the_mean() -> None:
    fields = gain_fields(6, 64, 0.5, generator=torch.Generator().manual_seed(0))
    assert fields.mean(dim=(2, 3)).abs().max() < 1e-5
    assert fields.diff(dim=3).abs().max() < 0.1
    assert fields.std() > 0.1


def test_the_first_size_is_seen_every_other_step() -> None:
    assert [sizes_of_steps((128, 64, 96), step) for step in range(6)] == [128, 64, 128, 96, 128, 64]
    assert [sizes_of_steps((32,), step) for step in range(3)] == [32, 32, 32]


def test_rare_classes_weigh_more(labels: Path) -> None:
    data = Labels(labels)
    weights = class_weights(data, torch.arange(len(data)))
    assert weights[CLASSES.index("eye")] > 2 * weights[CLASSES.index("skin")]


def test_a_resumed_run_equals_an_unbroken_one(labels: Path, tmp_path: Path) -> None:
    whole = train(labels, tmp_path / "whole", RECIPE, report=quiet)
    so_far = train(labels, tmp_path / "broken", RECIPE, max_minutes=0, report=quiet)
    assert so_far["steps"] == 1
    assert not (tmp_path / "broken" / "network").exists()
    resumed = train(labels, tmp_path / "broken", RECIPE, report=quiet)
    assert resumed == whole
    weights = [(tmp_path / name / "network" / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]


def test_training_learns_the_figures(labels: Path, tmp_path: Path) -> None:
    calm = Augmentation((1.0, 1.0), 0, 0, 0.1, 0.05, 0.1, 0.0, 0.0, 0.01)
    recipe = replace(
        RECIPE,
        network=UNetConfig((8, 8, 8), (0, 0, 0), size_px=64),
        steps=50,
        lr=2e-2,
        sizes_px=(64,),
        augmentation=calm,
        checkpoint_every=50,
    )
    figures = train(labels, tmp_path, recipe, report=quiet)
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert np.mean(curve[-5:]) < 0.5 * np.mean(curve[:5])
    assert figures["iou"]["64"]["skin"] > 0.7
    assert figures["iou"]["64"]["hair"] > 0.6
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.width > 128


def test_held_out_photos_arent_trained_on() -> None:
    split = split_rows(10, RECIPE)
    assert len(split.held_out) == 4
    assert not set(split.held_out.tolist()) & set(split.train.tolist())
    assert torch.equal(split.train, split_rows(10, RECIPE).train)


class Painted(torch.nn.Module):
    """Knows classes by red: below 0 it is hair."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(images), len(CLASSES), *images.shape[2:])
        logits[:, CLASSES.index("hair")] = -20 * images[:, 0]
        return logits


def test_changes_of_hair_are_counted() -> None:
    parser = Parser(ParserConfig("painted", "unet", {}, CLASSES, {}), Painted())
    dark, light = -torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    half = dark.clone()
    half[:, :, :, :2] = 1
    assert figures_of.hair_changes(parser, iter([(dark, dark)]))["mean_change"] == 0
    found = figures_of.hair_changes(parser, iter([(dark, light), (dark, half)]))
    assert found == {"mean_change": 0.75, "mean_square": 0.75, "turned": 0.75}


def test_overlap_of_the_labels_with_themselves_is_whole(labels: Path) -> None:
    """And the network's with another class's name for skin is none."""
    data = Labels(labels)
    rows = torch.arange(2)

    class Right(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen = framed(Labelled(data.photos(rows), data.labels(rows), data.mattes(rows)), images.shape[-1])
            known = torch.where(seen.labels == UNSURE, 0, seen.labels.long())
            return torch.nn.functional.one_hot(known, len(CLASSES)).permute(0, 3, 1, 2).float()

    parser = Parser(ParserConfig("right", "unet", {}, CLASSES, {}), Right())
    assert set(figures_of.overlap(parser, data, rows, 64).values()) == {1.0}


def test_too_few_photos_are_turned_down(prepared: Path, tmp_path: Path) -> None:
    write_labels(prepared, tmp_path / "labels", LabelsRecipe(every=4), matte=matte_of)
    with pytest.raises(DatasetError, match="at least 3"):
        train(tmp_path / "labels", tmp_path / "out", RECIPE, report=quiet)


@pytest.mark.parametrize(
    "changes", [{"held_out": 1.5}, {"sizes_px": []}, {"network": {"widths": [8, 8], "blocks": [1]}}]
)
def test_impossible_recipes_are_turned_down(changes: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        parse(ParserRecipe, changes)


def test_the_commands_run_the_tiny_recipe_to_a_network_for_the_losses(prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra `photos` isn't installed")
    run = CliRunner(catch_exceptions=False)
    labelled = run.invoke(main, ["parser", "labels", str(prepared), str(tmp_path / "labels"), "--recipe", str(TINY)])
    assert json.loads(labelled.stdout)["num_photos"] == 6
    trained = run.invoke(
        main, ["parser", "train", str(tmp_path / "labels"), str(tmp_path / "run"), "--recipe", str(TINY)]
    )
    figures = json.loads(trained.stdout)
    assert set(figures["iou"]) == {"64", "128", "256"}
    assert load_recipe(tmp_path / "run" / "recipe.resolved.json", "parser", ParserRecipe).steps == figures["steps"]
    name_frozen(tmp_path, "parser", "synthface.networks.parser:hair", network="run/network")
    frozen = load_frozen(["parser"], tmp_path, torch.device("cpu")).parser
    assert isinstance(frozen, HairParser)
    assert load_parser(tmp_path / "run" / "network").config.card["figures"]["iou"] == figures["iou"]


def test_a_new_parser_is_small() -> None:
    assert sum(p.numel() for p in new_parser(UNetConfig()).parameters()) < 1_000_000
