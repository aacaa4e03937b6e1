"""The training run: every stage, stopping, resuming, growing, exporting; at toy size with the real code."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from synthface.errors import DatasetError, OutputMismatchError, SpecError
from synthface.factors.types import FactorBatch
from synthface.generators import generator_info, load_generator
from synthface.morphable.basis import MorphableBasis
from synthface.networks.bundle import load_bundle
from synthface.networks.mapping import GROUPS
from tests.training.conftest import RECIPES
from training import checkpoint
from training.__main__ import main
from training.gan.adversarial import Growth
from training.gan.data import draw_rows, load_data
from training.gan.frozen import load_frozen
from training.gan.looking import PhotoMaps
from training.gan.loop import Limits, run
from training.gan.metrics import correlation
from training.gan.recipe import Contrastive, GanRecipe, Imitative, OptimiserRecipe, Outputs, Reconstruction, Stage
from training.gan.sheets import grid_sheet
from training.gan.toy import ToyFeatures
from training.gan.trainer import Trainer
from training.gan.world import World
from training.recipe import load_recipe, parse, save_resolved, to_plain

QUIET = Outputs(10**9, 10**9, 10**9, 10**9, num_metric_images=32, precision="full")
ALONE = World(0, 1, torch.device("cpu"))


def tiny(**changes: object) -> GanRecipe:
    return dataclasses.replace(load_recipe(RECIPES / "tiny.yaml", "gan", GanRecipe), **{"outputs": QUIET, **changes})


def three_stages(step: int = 16) -> tuple[Stage, ...]:
    """Two steps of each kind of stage."""
    stages = load_recipe(RECIPES / "tiny.yaml", "gan", GanRecipe).stages
    return tuple(dataclasses.replace(stage, until_images=step * (n + 1)) for n, stage in enumerate(stages))


def trained(world: Path, out: Path, recipe: GanRecipe, **options: object) -> Mapping[str, torch.Tensor]:
    run(recipe, world, out, report=lambda line: None, **options)  # type: ignore[arg-type]
    found = checkpoint.load_latest(out / "checkpoints", warn=pytest.fail)
    assert found is not None
    return found.tensors


@pytest.mark.parametrize("name", ["tiny", "portraits-64", "portraits-128", "ffhq256-paper"])
def test_recipes_load_and_survive_saving(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml", "gan", GanRecipe)
    save_resolved(tmp_path / "r.json", "gan", recipe)
    assert load_recipe(tmp_path / "r.json", "gan", GanRecipe) == recipe


def test_the_paper_recipe_has_the_papers_numbers() -> None:
    recipe = load_recipe(RECIPES / "ffhq256-paper.yaml", "gan", GanRecipe)
    first, second = recipe.stages
    assert (first.until_images, second.until_images) == (15_000_000, 20_000_000)
    assert first.imitative == Imitative(3, 500, 10, 20, 20)
    assert second.imitative == Imitative(3, 100, 10, 20, 20)
    assert second.contrastive == Contrastive(10, 10, 20, 1000)
    assert not first.is_contrastive
    assert recipe.network.generator(load_recipe_sizes(), {}).synthesis.num_ws == 14
    assert recipe.growth == Growth(8, 600_000, 600_000)
    assert recipe.optimiser.at(64) == (0.001, 32)
    assert recipe.optimiser.at(256) == (0.002, 16)
    assert recipe.robustify is None


def load_recipe_sizes():  # type: ignore[no-untyped-def]
    from synthface.networks.mapping import LambdaSizes

    return LambdaSizes(80, 80, 64)


def test_contradictions_in_a_recipe_are_named() -> None:
    plain = to_plain(tiny())
    for change, message in (
        ({"stages": []}, "stages end at"),
        ({"diff_augment": ["blur"]}, "diff_augment names blur"),
        ({"growth": {"start_px": 8}}, "growth goes with"),
        ({"frozen": ["recognition", "reconstruction"]}, "contrast: contrastive.structure needs parser"),
        ({"network": {**plain["network"], "discriminator_kind": "projected"}}, "projected needs features"),
        (
            {"network": {**plain["network"], "discriminator_kind": "progressive"}},
            "allowed with modulated: residual, pro",
        ),
    ):
        with pytest.raises(SpecError, match=message):
            parse(GanRecipe, {**plain, **change})


@pytest.fixture(scope="module")
def rehearsal(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole tiny recipe by its commands: train in two sittings, λ-VAEs, export."""
    folder = tmp_path_factory.mktemp("rehearsal")
    recipe = str(RECIPES / "tiny.yaml")
    common = ["gan", recipe, "--data", str(world), "--out", str(folder / "run")]
    for arguments in (
        ["vae", str(world / "lambda.parquet"), str(folder / "vae"), "--recipe", recipe],
        [*common, "--max-images", "200"],
        [*common, "--resume"],
        ["export", str(folder / "run"), str(folder / "bundle"), "--data", str(world), "--name", "rehearsed"],
    ):
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return folder


def test_the_rehearsal_writes_what_a_run_should(rehearsal: Path) -> None:
    """Losses of every stage in the log, once each; figures; sheets; checkpoints; the best one."""
    out = rehearsal / "run"
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["images"] for entry in log] == list(range(40, 321, 40))
    assert {entry["stage"] for entry in log} == {"warm start", "imitate", "contrast"}
    last = log[-1]
    wanted = {"d", "g", "identity", "landmarks", "lighting", "colour", "expression_pair", "structure", "same_identity"}
    assert wanted <= set(last)
    assert all(np.isfinite(value) for entry in log for value in entry.values() if isinstance(value, float))
    figures = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"fd[thumbnails]", "spread", "yaw_correlation", "light_correlation"} <= set(figures[-1])
    assert len(list((out / "sheets").glob("*.jpg"))) == 6
    assert [p.name for p in sorted((out / "checkpoints").iterdir())] == ["0000000240", "0000000320"]
    best = min(figures, key=lambda entry: entry["fd"])
    assert [p.name for p in (out / "best").iterdir()] == [f"{best['images']:010d}"]


def test_the_rehearsal_learns(rehearsal: Path) -> None:
    """Even in seconds: reconstructions get nearer, and faces come to be where they were asked for."""
    log = [json.loads(line) for line in (rehearsal / "run" / "log.jsonl").read_text().splitlines()]
    assert log[3]["l1"] < 0.8 * log[0]["l1"]
    assert log[-1]["landmarks"] < 0.8 * log[4]["landmarks"]


def test_the_bundle_draws(rehearsal: Path) -> None:
    """It loads by its folder's name, with ranges, card and w̄_α, and draws tiles."""
    folder = rehearsal / "bundle"
    info = generator_info(str(folder))
    low, high = info.layout.trusted_ranges["pose.yaw"]
    assert -31 < low < -20 < 20 < high < 31
    generator = load_generator(str(folder))
    assert generator.tile_size == info.tile_size == 8
    factors = FactorBatch.neutral(generator.layout, 8)
    rng = np.random.default_rng(0)
    factors = dataclasses.replace(factors, shape=rng.normal(size=factors.shape.shape).astype(np.float32))
    made = generator.generate(factors, size_px=32)
    assert made.images.shape == (8, 32, 32, 3)
    bundle = load_bundle(folder)
    assert bundle.network.w_alpha.abs().sum() > 0
    assert not torch.allclose(bundle.network.w_alpha, bundle.network.w_mean)
    card = (folder / "README.md").read_text()
    assert "licence: CC0" in card
    assert "warm start, imitate, contrast" in card


def test_a_resumed_run_equals_an_unbroken_one(world: Path, tmp_path: Path) -> None:
    """Through a warm start, imitation and contrast, stopped in the middle: every tensor bit for bit the same."""
    recipe = tiny(stages=three_stages())
    whole = trained(world, tmp_path / "a", recipe)
    trained(world, tmp_path / "b", recipe, limits=Limits(max_images=24))
    resumed = trained(world, tmp_path / "b", recipe, resume=True)
    assert set(whole) == set(resumed)
    different = [name for name in whole if not torch.equal(whole[name], resumed[name])]
    assert all(name == "codes" for name in different)
    assert torch.equal(whole["codes"].nan_to_num(9), resumed["codes"].nan_to_num(9))


def test_a_run_goes_on_with_a_recipe_that_has_grown(world: Path, tmp_path: Path) -> None:
    """A warm start alone and without any frozen network; then resumed with the networks, the stages and a discriminator."""
    stages = three_stages()
    first = tiny(stages=stages[:1], frozen=(), outputs=dataclasses.replace(QUIET, log_every=8))
    before = trained(world, tmp_path, first)
    network = dataclasses.replace(first.network, discriminator_kind="projected")
    frozen = ("recognition", "reconstruction", "parser", "features", "judge")
    grown = dataclasses.replace(first, stages=stages, network=network, frozen=frozen, diff_augment=("mild",))
    said: list[str] = []
    run(grown, world, tmp_path, limits=Limits(max_images=16), resume=True, report=said.append)
    assert said == ["starting anew: the discriminator: the recipe's is another one", "resumed at 16 images"]
    after = trained(world, tmp_path, grown, resume=True)
    assert after["generator.synthesis.constant"].shape == before["generator.synthesis.constant"].shape
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in log] == ["warm start"] * 2 + ["imitate"] * 2 + ["contrast"] * 2
    assert {"d", "g", "landmarks", "l1"} <= set(log[3])
    assert "r1" not in log[3], "no R1 through a frozen network unless asked for"
    assert torch.isfinite(torch.stack([value.float().sum() for name, value in after.items() if name != "codes"])).all()


def test_codes_come_from_other_copies_where_asked_for(world: Path) -> None:
    """With `cross` the encoder sees partners; without, the photos themselves. The pictures to be made stay the same."""
    trainer, recipe = trainer_of(world)
    trainer.data.pack._group[:] = np.arange(len(trainer.data.pack)) // 8
    trainer.data.pack._by_group = np.argsort(trainer.data.pack._group, kind="stable")
    trainer.data.pack._first, trainer.data.pack._size = trainer.data.pack._group * 8, trainer.data.pack._group * 0 + 8
    seen: list[torch.Tensor] = []
    trainer.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for cross in (0.0, 0.5):
        weights = dataclasses.replace(recipe.stages[0].reconstruction, cross=cross, renderings=0.0)
        stage = dataclasses.replace(recipe.stages[0], reconstruction=weights)
        trainer._reconstruct(stage, 8, torch.Generator().manual_seed(0), torch.Generator().manual_seed(0))
    same = (seen[0] == seen[1]).flatten(1).all(dim=1)
    assert same[4:].all()
    assert not same[:4].all()


def test_the_encoder_sees_no_face_where_it_is_hidden(world: Path) -> None:
    """Photos that differ around the nose only get one code if faces are hidden, two if not."""
    trainer, recipe = trainer_of(world)
    nose = trainer.landmarks[:, 30]
    assert ((nose > 0.2) & (nose < 0.8)).all()
    seen: list[torch.Tensor] = []
    trainer.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for hides_face in (False, True):
        weights = Reconstruction(renderings=0.0, features=0.0, hides_face=hides_face)
        stage = dataclasses.replace(recipe.stages[0], reconstruction=weights)
        trainer._reconstruct(stage, 8, torch.Generator().manual_seed(0), torch.Generator().manual_seed(0))
    numbers = torch.randint(len(trainer.data.pack), (8,), generator=torch.Generator().manual_seed(0))
    column, row = (nose[numbers] * seen[0].shape[-1]).long().unbind(dim=1)
    assert (seen[1][torch.arange(8), :, row, column] == 0).all()
    assert (seen[0][torch.arange(8), :, row, column] != 0).any(dim=1).all()
    assert torch.equal(seen[0][:, :, -1], seen[1][:, :, -1]), "what is far from the face stays"


def test_wide_poses_are_sought_where_asked_for(world: Path) -> None:
    """A share of the rows is the most turned of eight; and D's photos are turned as the generated pictures beside them."""
    trainer, _ = trainer_of(world, wide_share=0.5, mirror=False)
    vector, sizes = trainer.data.pack.vector, trainer.data.sizes
    yaw = vector[:, sizes.parts["pose_rad"].start + 1]
    rows = draw_rows(vector, sizes, 200, 0.5, generator=torch.Generator().manual_seed(0))
    assert yaw[rows[:100]].abs().mean() > 1.4 * yaw[rows[100:]].abs().mean()
    asked = vector[rows[:50]]
    for share, least, most in ((0.5, 0.9, 1.0), (0.0, -0.5, 0.5)):
        trainer.recipe = dataclasses.replace(trainer.recipe, wide_share=share)
        beside = trainer._draw_photos(50, asked, torch.Generator().manual_seed(1))
        assert least < correlation(yaw[rows[:50]], yaw[beside]) < most


def test_what_shows_more_is_heard_louder_where_asked_to(world: Path) -> None:
    """By sight, a component's loudness follows how much of the head it moves; identity as a whole is as loud as before."""
    variances = {}
    for by_sight in (False, True):
        trainer, _ = trainer_of(world, network=dataclasses.replace(tiny().network, by_sight=by_sight))
        mapping, vector = trainer.generator.mapping, trainer.data.pack.vector
        variances[by_sight] = ((vector - mapping.mean) / mapping.scale).var(dim=0, unbiased=False)
    sizes, basis = trainer.data.sizes, MorphableBasis.load()
    place = sizes.parts["shape"]
    shown = torch.as_tensor(basis.shape_basis[: sizes.shape]).flatten(1).norm(dim=1) * vector[:, place].std(dim=0)
    assert correlation(variances[True][place], shown) > 0.99
    columns = sizes.columns("identity")
    assert variances[True][columns].sum() == pytest.approx(float(variances[False][columns].sum()), rel=0.1)
    others = sizes.columns("lighting")
    assert torch.equal(variances[True][others], variances[False][others])


def test_a_damaged_checkpoint_costs_one_interval_only(world: Path, tmp_path: Path) -> None:
    recipe = tiny(stages=three_stages(), outputs=dataclasses.replace(QUIET, checkpoint_every=8))
    whole = trained(world, tmp_path / "a", recipe)
    trained(world, tmp_path / "b", recipe, limits=Limits(max_images=24))
    part = next((tmp_path / "b" / "checkpoints" / "0000000024").glob("part*"))
    part.write_bytes(part.read_bytes()[:1000])
    said: list[str] = []
    run(recipe, world, tmp_path / "b", resume=True, report=said.append)
    assert any("cut short" in line for line in said)
    assert "resumed at 16 images" in said
    found = checkpoint.load_latest(tmp_path / "b" / "checkpoints", warn=pytest.fail)
    assert found is not None
    assert all(torch.equal(found.tensors[n], whole[n]) for n in whole if n != "codes")


def test_small_checkpoints_resume_with_a_warm_up_and_no_jump(world: Path, tmp_path: Path) -> None:
    """At half precision without moments the learning rate rises anew, and the next losses are near the unbroken run's."""
    outputs = dataclasses.replace(QUIET, precision="half", optimiser_state=False, log_every=8)
    stage = Stage("r", 400, adversarial=0, reconstruction=Reconstruction(features=0))
    recipe = tiny(stages=(stage,), outputs=outputs, optimiser=OptimiserRecipe(batch=8, resume_warmup_images=80))
    trained(world, tmp_path / "a", recipe)
    trained(world, tmp_path / "b", recipe, limits=Limits(max_images=304))
    trained(world, tmp_path / "b", recipe, resume=True)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("a", "b")
    ]
    tails = [[entry["l1"] for entry in log if entry["images"] > 304] for log in logs]
    assert len(tails[0]) == len(tails[1]) == 12
    assert np.mean(tails[1]) == pytest.approx(np.mean(tails[0]), rel=0.1)
    assert max(tails[1]) < 1.15 * max(tails[0])


def test_the_learning_rate_after_a_resume_without_moments(world: Path) -> None:
    recipe = tiny(optimiser=OptimiserRecipe(lr=0.01, batch=8, resume_warmup_images=100))
    trainer = Trainer(recipe, load_data(world, recipe), load_frozen(recipe.frozen, world, ALONE.device), ALONE)
    tensors = {name: value for name, value in trainer.tensors().items() if not name.startswith("optimiser")}
    trainer.load(tensors, {**vars(trainer.progress), "num_images": 500})
    rates = []
    for images in (500, 549, 599, 700):
        trainer.progress.num_images = images
        trainer._set_learning_rate(0.01)
        rates.append(trainer.optimisers["generator"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.0001, 0.005, 0.01, 0.01])


def test_the_discriminator_learns_faster_where_asked_to(world: Path) -> None:
    rates = []
    for scale in (1.0, 2.0):
        trainer, recipe = trainer_of(world, optimiser=OptimiserRecipe(discriminator_lr_scale=scale))
        trainer._set_learning_rate(recipe.optimiser.lr)
        rates.append({name: o.param_groups[0]["lr"] for name, o in trainer.optimisers.items()})
    assert rates[1]["discriminator"] == pytest.approx(2 * rates[0]["discriminator"])
    assert rates[1]["generator"] == rates[0]["generator"]


def test_runs_stop_by_the_clock_and_say_whether_they_are_done(world: Path, tmp_path: Path) -> None:
    recipe = tiny(stages=three_stages())
    stopped = run(recipe, world, tmp_path, limits=Limits(max_minutes=0.0), report=lambda line: None)
    assert stopped.num_images == 0
    assert not stopped.is_done
    done = run(recipe, world, tmp_path, resume=True, report=lambda line: None)
    assert done.num_images == 48
    assert done.is_done
    with pytest.raises(OutputMismatchError, match="add --resume"):
        run(recipe, world, tmp_path, report=lambda line: None)


def test_missing_data_is_named(world: Path, tmp_path: Path) -> None:
    recipe = tiny()
    with pytest.raises(DatasetError, match="photos are 32 px"):
        load_data(world, dataclasses.replace(recipe, network=dataclasses.replace(recipe.network, size_px=64)))
    (tmp_path / "pack.safetensors").symlink_to(world / "pack.safetensors")
    with pytest.raises(DatasetError, match=r"no bank.safetensors, which stage warm start needs"):
        load_data(tmp_path, recipe)
    with pytest.raises(DatasetError, match="role 'judge'"):
        load_frozen(["judge"], tmp_path, ALONE.device)


def adain(**changes: object) -> GanRecipe:
    """The first StyleGAN, growing 8² → 16² → 32² in a few steps."""
    recipe = tiny()
    stage = Stage("imitate", 160, imitative=Imitative(identity=3, landmarks=500, colour=20, pixel=20))
    settings = {
        "network": dataclasses.replace(recipe.network, style="adain", attention_at=()),
        "growth": Growth(8, 32, 32),
        "optimiser": OptimiserRecipe(batch=16, batch_at={32: 8}, lr=0.001, lr_at={32: 0.002}, reset_at_growth=True),
        "stages": (stage,),
        "outputs": dataclasses.replace(QUIET, log_every=8),
    }
    return dataclasses.replace(recipe, **{**settings, **changes})


def test_progressive_growing(world: Path, tmp_path: Path) -> None:
    """Pictures grow with the schedule; below 32² the pixel loss stands in for the others; resuming is exact."""
    whole = trained(world, tmp_path / "a", adain())
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    levels = [entry["level"] for entry in log]
    assert levels[0] == 3.0
    assert levels == sorted(levels)
    assert levels[-1] == 5.0
    small = [entry for entry in log if entry["level"] <= 3.0]
    large = [entry for entry in log if entry["level"] > 4.5]
    assert all("pixel" in entry and "identity" not in entry for entry in small)
    assert all("identity" in entry and "pixel" not in entry for entry in large)
    trained(world, tmp_path / "b", adain(), limits=Limits(max_images=80))
    resumed = trained(world, tmp_path / "b", adain(), resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole if name != "codes")


def test_a_generator_that_takes_z_trains(world: Path, rehearsal: Path, tmp_path: Path) -> None:
    """z comes from the λ-VAEs in `priors/`, whose weights stay as they were."""
    data = tmp_path / "data"
    data.mkdir()
    for entry in world.iterdir():
        (data / entry.name).symlink_to(entry)
    (data / "priors").symlink_to(rehearsal / "vae" / "priors")
    recipe = tiny()
    recipe = dataclasses.replace(
        recipe,
        network=dataclasses.replace(recipe.network, inputs="z"),
        stages=(dataclasses.replace(recipe.stages[2], until_images=16),),
    )
    tensors = trained(data, tmp_path / "run", recipe)
    found = load_data(data, recipe)
    for name, vae in found.vaes.items():
        for key, value in vae.state_dict().items():
            assert torch.equal(tensors[f"generator.vaes.{name}.{key}"], value)


def trainer_of(world: Path, **changes: object) -> tuple[Trainer, GanRecipe]:
    recipe = tiny(**changes)
    return Trainer(recipe, load_data(world, recipe), load_frozen(recipe.frozen, world, ALONE.device), ALONE), recipe


def test_pairs_share_everything_but_one_factor(world: Path) -> None:
    """With that factor removed from G's sight, both pictures of a pair are the same: ε and noise maps are shared."""
    trainer, recipe = trainer_of(world)
    for kind, group in ((1, "expression"), (2, "lighting")):
        weights = trainer.generator.mapping.layers[0].weight
        with torch.no_grad():
            weights[:, trainer.data.sizes.columns(group)] = 0.0
            for name, parameter in trainer.generator.named_parameters():
                if name.endswith("strength"):
                    parameter.fill_(0.5)
        fakes = trainer._fakes(recipe.stages[2], 8, trainer.rng("data"), trainer.rng("step"))
        x, x_other = fakes.pairs[kind][:2]
        assert torch.allclose(x, x_other, atol=1e-5)
        assert not torch.allclose(x[0], x[1], atol=1e-2)


def test_codes_of_photos_are_remembered_and_matched(world: Path) -> None:
    """After a warm start, ε ~ N(0, I) has the mean of the photos' codes, and `photos` draws exactly those."""
    trainer, recipe = trainer_of(world)
    trainer.step(recipe.stages[0])
    assert (~trainer.codes[:, 0].isnan()).sum() in range(1, 9)
    torch.manual_seed(0)
    trainer.codes = torch.randn_like(trainer.codes) * 0.3 + 2.0
    trainer.match_noise(recipe.stages[1])
    rng = torch.Generator().manual_seed(0)
    drawn = trainer.draw_codes(recipe.stages[2], 4000, generator=rng)
    assert torch.allclose(drawn.mean(dim=0), trainer.codes.mean(dim=0), atol=0.05)
    photos = trainer.draw_codes(dataclasses.replace(recipe.stages[1], codes="photos"), 20, generator=rng)
    assert ((photos[:, None] == trainer.codes[None]).all(dim=2).sum(dim=1) == 1).all()
    mixed = trainer.draw_codes(recipe.stages[1], 20, generator=rng)
    is_photo = (mixed[:, None] == trainer.codes[None]).all(dim=2).any(dim=1)
    assert is_photo.tolist() == [True, False] * 10


def test_factors_are_heard_alike_where_asked_to(world: Path) -> None:
    """Balanced, each factor's standardised numbers have the same sum of variances; else each number has."""
    sums = {}
    for balanced in (False, True):
        network = dataclasses.replace(tiny().network, balanced=balanced)
        trainer, _ = trainer_of(world, network=network)
        mapping, vector = trainer.generator.mapping, trainer.data.pack.vector
        variance = ((vector - mapping.mean) / mapping.scale).var(dim=0, unbiased=False)
        sums[balanced] = {name: float(variance[trainer.data.sizes.columns(name)].sum()) for name in GROUPS}
    total = trainer.data.sizes.total
    assert sums[False]["pose"] <= 3.01, "roll hardly varies in this world: it is scaled by the least scale there is"
    assert sums[True]["pose"] / sums[False]["pose"] == pytest.approx(total / 12, rel=1e-3)
    assert sums[True]["identity"] == pytest.approx(total / 4, rel=0.02)
    assert sums[True]["lighting"] == pytest.approx(total / 4, rel=0.3)


def test_the_average_follows_the_generator(world: Path) -> None:
    trainer, recipe = trainer_of(world, ema_half_life_images=8)
    before = trainer.average.synthesis.constant.clone()
    trainer.step(recipe.stages[0])
    expected = (before + trainer.generator.synthesis.constant) / 2
    assert torch.allclose(trainer.average.synthesis.constant, expected, atol=1e-6)


def test_the_average_forgets_the_start_soon_where_asked_to(world: Path) -> None:
    """With a ramp the half-life is a share of the images seen: after 80 images of 8, half of a step's way at 0.1."""
    trainer, recipe = trainer_of(world, ema_half_life_images=10_000, ema_rampup=0.1)
    trainer.step(recipe.stages[0])
    assert torch.equal(trainer.average.synthesis.constant, trainer.generator.synthesis.constant)
    trainer.progress.num_images = 80
    before = trainer.average.synthesis.constant.clone()
    trainer.step(recipe.stages[0])
    expected = (before + trainer.generator.synthesis.constant) / 2
    assert torch.allclose(trainer.average.synthesis.constant, expected, atol=1e-6)


def test_the_discriminator_is_not_moved_by_the_generators_step(world: Path) -> None:
    """In the warm start D stays as it is; in the game both move."""
    trainer, recipe = trainer_of(world)
    weight = trainer.discriminator.from_rgb.weight
    before = weight.clone()
    trainer.step(recipe.stages[0])
    assert torch.equal(weight, before)
    trainer.step(recipe.stages[1])
    assert not torch.equal(weight, before)
    assert all(p.requires_grad for p in trainer.generator.synthesis.parameters())


def test_photos_are_looked_at_once(world: Path) -> None:
    """D that looks through a frozen network keeps its maps of photos, and they are those of the masked photos."""
    trainer, _ = trainer_of(world)
    features = ToyFeatures()
    looked: list[int] = []
    features.register_forward_hook(lambda module, inputs, outputs: looked.append(len(inputs[0])))
    maps = PhotoMaps(features, trainer.data.pack, torch.device("cpu"))
    rows = torch.tensor([3, 0, 5])
    first, second = maps(rows), maps(torch.tensor([5, 7, 3]))
    assert looked == [3, 1]
    expected = features(trainer.data.pack.images(rows))
    for one, other, right in zip(first, second, expected, strict=True):
        assert torch.allclose(one, right, atol=2e-3)
        assert torch.equal(one[[2, 0]], other[[0, 2]])


def test_one_look_serves_both_networks(world: Path) -> None:
    """Unaugmented, D judges what the loss of features saw: no photo and no picture is looked at twice in a step."""
    network = dataclasses.replace(tiny().network, discriminator_kind="projected")
    frozen_roles = (*tiny().frozen, "features")
    recipe = tiny(network=network, diff_augment=(), mirror=False, frozen=frozen_roles)
    frozen = load_frozen(recipe.frozen, world, ALONE.device)
    trainer = Trainer(recipe, load_data(world, recipe), frozen, ALONE)
    looked: list[int] = []
    frozen.features.register_forward_hook(lambda module, inputs, outputs: looked.append(len(inputs[0])))
    stage = dataclasses.replace(
        recipe.stages[1], reconstruction=Reconstruction(), imitative=Imitative(), adversarial=1.0, codes="normal"
    )
    logged = trainer.step(stage)
    size = recipe.optimiser.batch
    photos = trainer._photo_maps._is_kept.sum()
    assert sum(looked) == 2 * size + photos
    assert {"d", "g", "features"} <= set(logged)


def test_sheets_show_every_picture_in_its_place() -> None:
    pictures = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 64, 64, 3) * 40
    sheet = np.asarray(grid_sheet(pictures, 3, ["one", "two"]))
    values = {tuple(sheet[8 + 30 + 66 * r, 120 + 30 + 66 * c]) for r in range(2) for c in range(3)}
    assert values == {(40 * n,) * 3 for n in range(6)}


def test_two_processes_train_as_one(world: Path, tmp_path: Path) -> None:
    """Under torchrun with accelerate: gradients are averaged, so both processes hold the same networks to the end."""
    pytest.importorskip("accelerate")
    recipe = tiny(stages=three_stages())
    save_resolved(tmp_path / "recipe.json", "gan", recipe)
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29511", str(script)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(RECIPES.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, str(tmp_path / "recipe.json"), str(world), str(tmp_path / "run")],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("same everywhere") == 2
    assert (tmp_path / "run" / "checkpoints" / "0000000048").is_dir()
