"""Training the reconstruction networks: commands from bank to extracted table, resuming, and what carries over."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from synthface.errors import DatasetError
from synthface.morphable.basis import MorphableBasis
from synthface.networks.backbones import BackboneConfig
from synthface.networks.reconstruction import load_reconstruction
from synthface.networks.skin_reader import SkinReaderConfig
from tests.training.reconstruct_scenes import VIEW, write_photos
from training.__main__ import main
from training.lambda_table import read_extra, read_table
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX
from training.recipe import load_recipe
from training.reconstruct import extract as extraction
from training.reconstruct import runs
from training.reconstruct.bank import Bank
from training.reconstruct.batches import World
from training.reconstruct.photos import load_photos, split
from training.reconstruct.recipe import NetworkRecipe, ReconstructRecipe
from training.reconstruct.report import auc
from training.reconstruct.train import Clock, Trainer, look_first, new_network, rate, train

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny.yaml"
BASIS = MorphableBasis.load()


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, bank and a trained run, by the commands in the tiny recipe's header."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("reconstruct")
    table = write_photos(folder / "photos", BASIS, num=6)
    given = ("--photos", folder / "photos", "--table", table)
    run("reconstruct", "bank", folder / "bank", "--recipe", RECIPE)
    trained = ("--bank", folder / "bank", *given)
    run("reconstruct", "train", "reconstruction", folder / "run", *trained, "--recipe", RECIPE)
    run("reconstruct", "measure", folder / "run", *trained, "--num", 4, "--num-likeness", 2)
    run("reconstruct", "export", folder / "run", folder / "network", "--source", "renderings", "--licence", "CC0")
    run("extract", folder / "photos", folder / "extracted", "--network", folder / "network", "--recipe", RECIPE)
    return folder


@pytest.fixture(scope="module")
def world(folder: Path) -> World:
    photos, fitted = load_photos(folder / "photos", folder / "photos" / "lambda.parquet", 40)
    return World(BASIS, Bank(folder / "bank", BASIS), photos, fitted, 32)


def recipe() -> ReconstructRecipe:
    return load_recipe(RECIPE, "reconstruct", ReconstructRecipe)


def test_a_run_leaves_log_figures_sheet_and_resolved_recipe(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    terms = {name for line in lines for name in line}
    assert {"pose", "landmarks", "detector", "photometric", "identity", "prior", "held_out"} <= terms
    figures = json.loads((folder / "run" / "metrics.json").read_text())
    assert set(figures["expression_r2"]) == set(BASIS.expression_names)
    assert {"yaw_mae_deg", "landmark_nme", "light_error_deg", "band_ratio_r2"} <= set(figures["renderings"])
    assert {"photos_landmark_nme", "identity_distance", "skin_colour_error"} <= set(figures["photos"])
    # The photos are renderings of the table's own λ: measured with that, all is well.
    assert figures["photos"]["skin_colour_error_of_the_fit"] < 5
    assert figures["photos"]["photos_landmark_nme_of_the_fit"] < 1e-3
    assert (folder / "run" / "sheet.jpg").stat().st_size > 1000
    assert load_recipe(folder / "run" / "recipe.resolved.json", "reconstruct", ReconstructRecipe) == recipe()


def test_exported_networks_read_as_the_run_does_and_carry_their_figures(folder: Path) -> None:
    network, best = load_reconstruction(folder / "network"), runs.load_run(folder / "run", BASIS)
    images = torch.rand(2, 3, 48, 48) * 2 - 1
    assert torch.allclose(network(images).landmarks, best(images).landmarks, atol=5e-3)
    assert network.config.card["measured"] == json.loads((folder / "run" / "metrics.json").read_text())
    assert network.config.name == "reconstruction"
    assert network.config.card["licence"] == "CC0"


def test_runs_of_another_model_and_folders_without_a_run_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="name that model"):
        runs.load_run(folder / "run", replace(BASIS, mean_albedo=BASIS.mean_albedo * 0.9))
    with pytest.raises(DatasetError, match="no run there"):
        runs.load_run(tmp_path, BASIS)


def test_a_resumed_run_equals_an_unbroken_one(world: World, tmp_path: Path) -> None:
    settings = replace(recipe().judge, images=64)
    results = []
    for name in ("whole", "broken"):
        out = tmp_path / name
        if name == "broken":
            shutil.copytree(tmp_path / "whole" / "checkpoints" / f"{32:010d}", out / "checkpoints" / f"{32:010d}")
        trainer = Trainer(world, settings, new_network(world, settings, "judge"))
        train(trainer, out, clock=Clock())
        assert trainer.images == 64
        results.append(torch.cat([value.float().flatten() for value in trainer.network.state_dict().values()]))
    assert torch.equal(*results)


@pytest.fixture
def landmark_recipe() -> NetworkRecipe:
    """A landmark reader as published, to look at forty pictures."""
    sizes = BackboneConfig(128, 16, (16, 32, 64, 128, 128), (2, 2, 2, 2, 2), features=16)
    return replace(
        recipe().judge, architecture="landmarks", backbone=sizes, look_at=40, skin=SkinReaderConfig(40, 8), lr=1e-3
    )


def test_a_landmark_reader_learns_from_pictures_it_looked_at_once(
    world: World, landmark_recipe: NetworkRecipe, tmp_path: Path
) -> None:
    settings, large = replace(landmark_recipe, images=320), replace(world, size_px=128)
    network = new_network(large, settings, "judge")
    said: list[str] = []
    seen = look_first(network, large, settings, tmp_path, report=said.append)
    assert seen is not None
    assert said == ["looked at 40/40 pictures"]
    assert 0 < int(seen.is_photo.sum()) < len(seen) == 40
    published = {name: value.clone() for name, value in network.backbone.layers.state_dict().items()}
    trainer = Trainer(large, settings, network, None, seen)
    losses = [trainer.step(0.0)["loss"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert all(torch.equal(value, published[name]) for name, value in network.backbone.layers.state_dict().items())


def test_what_was_looked_at_is_not_looked_at_again(
    world: World, landmark_recipe: NetworkRecipe, tmp_path: Path
) -> None:
    large = replace(world, size_px=128)
    network = new_network(large, landmark_recipe, "judge")
    first = look_first(network, large, landmark_recipe, tmp_path)
    said: list[str] = []
    again = look_first(network, large, landmark_recipe, tmp_path, report=said.append)
    assert said == []
    assert first is not None
    assert again is not None
    assert torch.equal(first.seen, again.seen)


def test_the_clock_stops_a_run_with_a_checkpoint(world: World, tmp_path: Path) -> None:
    settings = replace(recipe().judge, images=10**9)
    trainer = Trainer(world, settings, new_network(world, settings, "judge"))
    best = train(trainer, tmp_path, clock=Clock(max_minutes=1e-4))
    assert trainer.images < 64
    assert best["images"] == trainer.images
    assert (tmp_path / "checkpoints" / f"{trainer.images:010d}").is_dir()


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    assert rate(0.0, 0) < 0.1
    assert rate(0.3, 10**5) == pytest.approx(1.0)
    assert rate(1.0, 10**5) == pytest.approx(0.01)


def test_another_run_lends_its_weights_whatever_the_length_of_its_albedo(world: World, folder: Path) -> None:
    """On a model with more albedo components the same pictures give the same pose, light and landmarks."""
    longer = np.concatenate([BASIS.albedo_basis, BASIS.albedo_basis[:2] * 0.5])
    other = replace(world, basis=replace(BASIS, albedo_basis=longer), photos=None, table=None)
    network = new_network(other, recipe().reconstruction, "reconstruction")
    runs.warm_start(network, folder / "run")
    before = new_network(world, recipe().reconstruction, "reconstruction")
    from training.checkpoint import load_latest, load_module

    last = load_latest(folder / "run" / "checkpoints", warn=print)
    assert last is not None
    load_module("network", before, last.tensors)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    ours, theirs = network.eval()(images), before.eval()(images)
    for name in ("shape", "expression", "sh", "pose_rad"):
        a, b = getattr(network.sizes.unpack(ours.vector), name), getattr(before.sizes.unpack(theirs.vector), name)
        assert torch.allclose(a, b, atol=1e-4), name
    assert torch.allclose(ours.landmarks, theirs.landmarks, atol=1e-4)


def test_skin_is_carried_over_to_another_model_of_the_same_mesh() -> None:
    """Components in another order and with other signs, and another mean: the same faces."""
    face = BASIS.face_vertices
    order = np.random.default_rng(0).permutation(BASIS.num_albedo)
    components = -BASIS.albedo_basis[order]
    mean = BASIS.mean_albedo + 0.5 * BASIS.albedo_basis[0]
    other = replace(BASIS, albedo_basis=components, mean_albedo=mean)
    turn, shift = runs.albedo_between(BASIS, other)
    coefficients = np.random.default_rng(1).normal(size=BASIS.num_albedo).astype(np.float32)
    theirs = BASIS.mean_albedo[face] + np.tensordot(coefficients, BASIS.albedo_basis[:, face], 1)
    carried = turn.numpy() @ coefficients + shift.numpy()
    ours = mean[face] + np.tensordot(carried, components[:, face], 1)
    spread = np.abs(theirs - BASIS.mean_albedo[face]).mean()
    assert np.abs(ours - theirs).mean() < 0.1 * spread


def test_extraction_writes_a_lambda_table_with_where_and_how_well(folder: Path) -> None:
    path = folder / "extracted" / "lambda.parquet"
    table, photos = read_table(path), read_table(folder / "photos" / "lambda.parquet")
    assert table.keys == photos.keys
    assert table.expression_names == BASIS.expression_names
    landmarks = read_extra(path, "landmarks").reshape(6, 68, 2)
    view, crop = read_extra(path, "view"), read_extra(path, "crop")
    assert view.shape == (6, 3)
    # The crop takes the canvas (here the source) to the view of the camera: the camera's own landmarks land on those given.
    from synthface.morphable.model import MorphableModel
    from synthface.networks.points import in_picture

    model = MorphableModel(BASIS)
    own = in_picture(model(table.factors()).vertices[:, model.landmarks68], torch.zeros(6, 3)) * FRAME_PX
    assert np.abs(crop[:, None, :1] * landmarks + crop[:, None, 1:] - own.numpy()).max() < 0.05
    assert np.isfinite(read_extra(path, "error")).all()
    import pyarrow.parquet as pq

    stored = pq.read_table(path)
    masks = [np.unpackbits(np.frombuffer(row.as_py(), np.uint8)) for row in stored["mask"]]
    assert all(0.02 < mask.mean() < 0.9 for mask in masks)
    assert stored.schema.metadata[b"mask_px"] == b"32"


def test_extraction_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    network, settings = load_reconstruction(folder / "network"), extraction.ExtractRecipe(part=4, batch=2, mask_px=32)
    shutil.copytree(folder / "extracted" / "parts", tmp_path / "parts")
    (tmp_path / "parts" / "part-0000004.safetensors").write_bytes(b"cut short")
    said: list[str] = []
    extraction.extract(folder / "photos", tmp_path, network, BASIS, settings, report=said.append)
    assert said == ["extract: 6/6"]
    a, b = (read_table(where / "lambda.parquet").vector for where in (tmp_path, folder / "extracted"))
    assert torch.equal(a, b)
    with pytest.raises(DatasetError, match="name the model"):
        other = replace(BASIS, mean_albedo=BASIS.mean_albedo * 0.9)
        extraction.extract(folder / "photos", tmp_path, network, other, settings)


def test_extraction_of_the_truth_has_no_error(folder: Path, tmp_path: Path) -> None:
    """A network that knew λ and view would be found without fault by `error`."""

    class Knowing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            network = load_reconstruction(folder / "network")
            self.config, self.sizes, self.done = network.config, network.sizes, 0

        def forward(self, images: torch.Tensor):  # type: ignore[no-untyped-def]
            from synthface.networks.reconstruction import Reconstructed

            rows = slice(self.done, self.done + len(images))
            self.done += len(images)
            vector = read_table(folder / "photos" / "lambda.parquet").vector[rows]
            view = torch.tensor(VIEW).expand(len(images), 3).contiguous()
            return Reconstructed(vector, torch.zeros(len(images), 68, 2), view)

    settings = extraction.ExtractRecipe(part=4, batch=2, mask_px=64)
    figures = extraction.extract(folder / "photos", tmp_path, Knowing(), BASIS, settings)  # type: ignore[arg-type]
    assert figures["error"]["p95"] < 0.03


def test_auc_is_the_share_of_pairs_told_apart() -> None:
    people = torch.eye(4)
    assert auc(people, people) == 1.0
    assert auc(people, people.roll(1, 0)) < 0.5


def test_the_recipe_has_photos_of_every_kind(folder: Path) -> None:
    """Otherwise the tests above would prove less than they seem to."""
    keys = read_table(folder / "photos" / "lambda.parquet").keys
    assert set(split(keys)) == {-1, 0, 1}
    assert CANVAS_PX == FRAME_PX + 2 * MARGIN_PX
