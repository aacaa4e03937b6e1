"""A whole evaluation of real generators at tiny size: what is measured, what is said of it, and going on after a kill."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from synthface.errors import GeneratorError, SynthfaceError
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.networks.bundle import BundleConfig, save_bundle
from synthface.networks.generator import GeneratorConfig, GeneratorNetwork
from synthface.networks.mapping import LambdaSizes
from synthface.networks.synthesis import SynthesisConfig
from training.evaluate import loading, run
from training.evaluate.cli import evaluate
from training.evaluate.real import RealPhotos
from training.evaluate.recipe import NAMES, QUICK, ControlSizes, EvaluateRecipe, QualitySizes
from training.evaluate.source import rng_for
from training.evaluate.store import Counter
from training.evaluate.subject import open_subject
from training.gan.export import loss_networks
from training.gan.frozen import name_frozen
from training.gan.recipe import GanRecipe
from training.lambda_table import read_table
from training.photos.align import CANVAS_PX, FRAME_PX, MARGIN_PX, model_landmarks68
from training.photos.prepared import PhotoRows, write_prepared
from training.recipe import load_recipe, to_plain

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny.yaml"
CROP = np.array([0.5, 10.0, 20.0], np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 16 photos: soft random colours, a white dot at the tip of the nose."""
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(0)
    points = model_landmarks68() + MARGIN_PX + rng.normal(0, 4, (16, 1, 2))
    files = []
    for n in range(16):
        soft = Image.fromarray(rng.integers(0, 160, (10, 10, 3), np.uint8)).resize((CANVAS_PX, CANVAS_PX))
        pixels = np.asarray(soft).copy()
        x, y = points[n, 30].round().astype(int)
        pixels[y - 3 : y + 4, x - 3 : x + 4] = 255
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
        files.append(buffer.getvalue())
    ones, keys = np.ones(16, np.float32), tuple(f"photo{n:02d}" for n in range(16))
    write_prepared(folder, PhotoRows(keys, keys, np.tile(CROP, (16, 1)), points.astype(np.float32), *[ones] * 3), files)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, world: Path) -> Path:
    """A generator with random weights that says which networks its losses used: the world's recogniser alone."""
    folder = tmp_path_factory.mktemp("bundle") / "b"
    basis = MorphableBasis.load()
    torch.manual_seed(0)
    synthesis = SynthesisConfig("modulated", 32, 16, 128, 16, ())
    network = GeneratorNetwork(
        GeneratorConfig(LambdaSizes.of(basis.layout()), synthesis, 32, "lambda", 2, 0.1, {})
    ).eval()
    entry = json.loads((world / "networks" / "recognition.json").read_text())
    config = BundleConfig(
        name="random",
        architecture=network.config.to_dict(),
        expression_names=basis.expression_names,
        morphable_model={"name": basis.name, "sha256": basis.digest},
        camera={"focal_per_pixel": camera.FOCAL_PER_PIXEL, "distance_dm": camera.DISTANCE_DM},
        tile_size=4,
        trusted_ranges={"pose.yaw": (-25.0, 25.0)},
        training={"data": {}, "loss_networks": {"recognition": entry}},
    )
    vector = read_table(world / "lambda.parquet").vector[:4]
    save_bundle(folder, network, config, vector=vector, noise=torch.randn(4, 32), card="# random\n")
    return folder


def command(bundle: Path | str, out: Path, *options: object) -> dict[str, Any]:
    """The figures that the command prints."""
    result = CliRunner().invoke(evaluate, [str(bundle), "--out", str(out), "--json", *map(str, options)])
    assert result.exit_code == 0, result.output
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


@pytest.fixture(scope="module")
def finished(
    bundle: Path, photos: Path, world: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """An evaluation of the bundle: its folder and its figures."""
    out = tmp_path_factory.mktemp("evaluation")
    table = world / "lambda.parquet"
    options = ("--real", photos, "--lambda", table, "--networks", world, "--recipe", RECIPE)
    return out, command(bundle, out, *options)


def test_everything_is_measured_on_a_bundle(finished: tuple[Path, dict[str, Any]]) -> None:
    """The file holds what the command printed, and no number that JSON doesn't know."""
    out, figures = finished
    assert list(figures["measurements"]) == list(NAMES)
    assert not any("skipped" in found for found in figures["measurements"].values())
    written = json.loads((out / run.JSON).read_text(), parse_constant=lambda name: pytest.fail(name))
    assert written == figures
    assert figures["measurements"]["control"]["pose"]["yaw"]["trusted"] == [-25.0, 25.0]
    assert figures["table_1"][-1]["method"] == figures["table_2"][-1]["method"] == "random"
    assert figures["table_1"][-1]["fid_is"].startswith("fd[")


def test_figures_say_which_networks_training_saw(finished: tuple[Path, dict[str, Any]]) -> None:
    """Only the recogniser that the bundle names was."""
    _, figures = finished
    seen = {named["role"]: named["seen_by_training"] for named in figures["networks"]}
    assert seen == {"judge": False, "second recognition": False, "recognition": True, "features": False}
    assert not any(named["is_assumed"] for named in figures["networks"])
    by = figures["measurements"]["identity"]["by"]
    assert {name: part["seen_by_training"] for name, part in by.items()} == {"mobileface": False, "recognition": True}
    assert figures["measurements"]["disentanglement"]["networks"] == ["judge", "mobileface"]
    assert figures["measurements"]["disentanglement"]["seen_by_training"] is False


def test_an_exported_run_says_what_its_losses_looked_through(world: Path, tmp_path: Path) -> None:
    """The tiny recipe's three, and not the judge that only measures."""
    recipe = load_recipe(RECIPE, "gan", GanRecipe)
    found = loss_networks(world, recipe)
    assert set(found) == {"recognition", "reconstruction", "parser"} < set(recipe.frozen)
    assert found["parser"] == json.loads((world / "networks" / "parser.json").read_text())
    with pytest.raises(GeneratorError, match="recognition.json"):
        loss_networks(tmp_path, recipe)


def test_a_bundle_that_does_not_say_is_taken_to_have_used_what_ships(bundle: Path, world: Path) -> None:
    subject = open_subject(str(bundle))
    subject.bundle.config.training.pop("loss_networks")  # type: ignore[attr-defined]
    seen = {role: loading.seen_by_training(role, entry, subject) for role, entry in loading.SHIPPED.items()}
    assert seen == {
        "judge": (False, True),
        "recognition": (True, True),
        "second recognition": (False, True),
        "features": (True, True),
    }


def test_the_report_is_one_file_with_everything_in_it(finished: tuple[Path, dict[str, Any]]) -> None:
    out, figures = finished
    text = (out / run.HTML).read_text()
    assert "http" not in text.replace("http-equiv", "")
    for heading in (
        "Table 1",
        "Table 2",
        "Disentanglement",
        "Perceptual path length",
        "Identity",
        "Control",
        "Truncation",
    ):
        assert heading in text
    assert text.count("<svg") >= 8 + 4 + 5
    assert text.count("data:image/jpeg;base64,") == 4
    assert text.count("seen by training</span>") >= 2
    assert f"{figures['measurements']['disentanglement']['ds']['pose']:.4g}" in text


def without_seconds(figures: dict[str, Any]) -> dict[str, Any]:
    parts = {name: {k: v for k, v in part.items() if k != "seconds"} for name, part in figures["measurements"].items()}
    return {**figures, "measurements": parts}


def test_an_evaluation_goes_on_where_it_was_killed(
    finished: tuple[Path, dict[str, Any]], bundle: Path, photos: Path, world: Path
) -> None:
    """Only what is missing is looked at again, a damaged file among it, and the figures are the same."""
    out, figures = finished
    judged = {}
    for path in sorted((out / run.CACHE).glob("pictures-*.npz")):
        with np.load(path) as arrays:
            if "vector" in arrays:
                judged[path] = len(arrays["vector"])
    damaged, *gone = list(judged)[::4]
    for path in gone:
        path.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert len(gone) > 2
    recipe = load_recipe(RECIPE, "evaluate", EvaluateRecipe)
    at = run.open_bench(run.Inputs(str(bundle), photos, world / "lambda.parquet", world), out, recipe)
    again = run.measure_all(at)
    assert at.store.counter.done == sum(judged[path] for path in [damaged, *gone])
    assert at.store.counter.done + at.store.counter.kept == at.store.counter.total
    assert without_seconds(json.loads(json.dumps(run.finite(again)))) == without_seconds(figures)


def test_landmarks_are_where_the_scene_has_them() -> None:
    subject = open_subject("3dmm", size_px=32)
    source = run.factor_source(subject, None, 0)
    vector, noise = source.vectors(8, rng=rng_for(0, "x")), source.noise(8, rng=rng_for(0, "y"))
    scene = subject.generator.generate(subject.batch(vector, noise), size_px=32).scene
    assert np.allclose(subject.landmarks(vector).numpy(), scene.landmarks68_px / 32, atol=1e-5)


def test_pictures_do_not_depend_on_how_many_are_asked_for_at_once() -> None:
    """Five pictures in tiles of eight, then the last two alone, to what a whole tile's rounding leaves open."""
    subject = open_subject("3dmm", size_px=32)
    source = run.factor_source(subject, None, 0)
    vector, noise = source.vectors(5, rng=rng_for(0, "x")), source.noise(5, rng=rng_for(0, "y"))
    together, alone = subject.pictures(vector, noise).images, subject.pictures(vector[3:], noise[3:]).images
    assert together.shape == (5, 3, 32, 32)
    assert float((together[3:] - alone).abs().max()) <= 1.01 / 127.5


def test_another_generator_shares_no_reading(finished: tuple[Path, dict[str, Any]], photos: Path, world: Path) -> None:
    out, _ = finished
    before = set((out / run.CACHE).iterdir())
    only = ("--only", "disentanglement", "--only", "paths")
    figures = command("3dmm", out, "--real", photos, "--networks", world, "--recipe", RECIPE, *only)
    # Two networks × a chunk for each factor; the photos are shared.
    assert len(set((out / run.CACHE).iterdir()) - before) == 8
    assert set(figures["measurements"]) == {"disentanglement", "paths"}
    assert "style codes" in figures["measurements"]["paths"]["skipped"]
    assert figures["measurements"]["disentanglement"]["ds"]["pose"] > 0


def test_the_judge_looks_at_no_more_random_pictures_than_it_must(tmp_path: Path, world: Path) -> None:
    """Of 12, 5 for control; what the others read of the first 5 is the same with it and without it."""
    recipe = dataclasses.replace(
        load_recipe(RECIPE, "evaluate", EvaluateRecipe),
        quality=QualitySizes(num_fakes=12),
        control=ControlSizes(num_random=5),
    )
    at = run.open_bench(run.Inputs("3dmm", networks=world), tmp_path, recipe)
    vector, read = at.pool(12)
    assert "vector" not in read
    assert len(read["mobileface"]) == len(vector) == 12
    few, judged = at.pool(5)
    assert judged["vector"].shape == few.shape == (5, vector.shape[1])
    assert torch.equal(judged["mobileface"], read["mobileface"][:5]) and torch.equal(few, vector[:5])


def test_without_photos_and_judge_the_reasons_are_given(tmp_path: Path) -> None:
    at = run.open_bench(run.Inputs("3dmm"), tmp_path, load_recipe(RECIPE, "evaluate", EvaluateRecipe))
    at.networks = loading.Networks(missing={"judge": "not trained yet"})
    found = run.measure_all(at, only=("disentanglement", "control", "quality"))["measurements"]
    assert "not trained yet" in found["disentanglement"]["skipped"]
    assert "not trained yet" in found["control"]["skipped"]
    assert "needs features" in found["quality"]["skipped"]


def test_a_judge_of_another_morphable_model_is_left_out_with_its_reason(tmp_path: Path) -> None:
    name_frozen(tmp_path, "judge", "tests.training.evaluate_toy:narrow_judge")
    networks = loading.load_networks(open_subject("3dmm", size_px=32), data=tmp_path)
    assert networks.judge is None
    assert "reads λ of 5 numbers" in networks.missing["judge"]


def test_a_bundle_without_priors_needs_a_table(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(SynthfaceError, match="give --lambda"):
        run.evaluate(run.Inputs(str(bundle)), tmp_path, EvaluateRecipe())


def test_photos_are_cut_as_their_fitted_crop_says(photos: Path, tmp_path: Path) -> None:
    """A point of the source goes to scale · p + (x, y), in the landmarks and in the pixels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    crops = np.array([[0.6, 5.0, 7.0], [0.45, 20.0, 30.0]])
    table = pa.table({"key": ["photo03", "photo11"], "crop": crops.tolist()})
    pq.write_table(table, tmp_path / "lambda.parquet")
    real = RealPhotos(photos, tmp_path / "lambda.parquet")
    assert len(real) == 2
    cut = real.pictures(np.array([0, 1]), 128)
    for n, row in enumerate((3, 11)):
        source = (real.photos.rows.landmarks[row] - MARGIN_PX - CROP[1:]) / CROP[0]
        expected = (crops[n, 0] * source + crops[n, 1:]) / FRAME_PX
        assert np.allclose(cut.landmarks[n].numpy(), expected, atol=1e-5)
        bright = (cut.images[n].amin(dim=0) > 0.9).nonzero().double().mean(dim=0)  # row, column of the dot's middle
        assert np.allclose(((bright + 0.5) / 128).numpy()[::-1], expected[30], atol=0.01)


def test_photos_as_prepared_lose_their_margin(photos: Path) -> None:
    real = RealPhotos(photos)
    cut = real.pictures(np.array([0]), FRAME_PX)
    canvas = torch.from_numpy(real.photos.photo(0).copy()).permute(2, 0, 1).float() / 127.5 - 1
    inside = canvas[:, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    assert float((cut.images[0] - inside).abs().max()) < 0.02
    assert not real.has_fitted_crops


class FakeInception(torch.nn.Module):
    """Gives as many features as TF-Inception, or fewer."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.num = num

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        """Mean level of each picture, many times over."""
        return images.float().mean(dim=[1, 2, 3])[:, None].expand(-1, self.num)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_inception_is_taken_from_torchscript_and_refused_with_a_reason(tmp_path: Path) -> None:
    for num in (2048, 1000):
        torch.jit.script(FakeInception(num)).save(str(tmp_path / f"{num}.pt"))
    named = loading.load_inception(tmp_path / "2048.pt")
    assert named.role == "inception"
    levels = named.network(torch.full((2, 3, 8, 8), 1.0))
    assert levels.shape == (2, 2048) and float(levels[0, 0]) == 255.0
    with pytest.raises(SynthfaceError, match=r"1000.*gives \(1, 2048\)"):
        loading.load_inception(tmp_path / "1000.pt")
    (tmp_path / "none.pt").write_bytes(b"nothing")
    with pytest.raises(SynthfaceError, match="not TF-Inception"):
        loading.load_inception(tmp_path / "none.pt")


def test_the_time_left_counts_only_pictures_that_take_time() -> None:
    seen = []
    counter = Counter(total=100, report=seen.append)
    counter.add(60, was_kept=True)
    counter.add(10, was_kept=False)
    assert [(p.done, p.total) for p in seen] == [(0, 40), (10, 40)]


def test_quick_is_less_of_everything_than_the_papers_protocol() -> None:
    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            return [n for entry in value.values() for n in numbers(entry)]
        return [value] if isinstance(value, int) and not isinstance(value, bool) else []

    full = EvaluateRecipe(size_px=256)
    assert (full.disentanglement.num_groups, full.disentanglement.per_group) == (1000, 10)
    assert (full.quality.num_fakes, full.paths.num) == (50_000, 100_000)
    assert (full.directions.num_pairs, full.directions.num_contexts) == (50, 100)
    pairs = list(zip(numbers(to_plain(QUICK)), numbers(to_plain(full)), strict=True))
    assert all(few <= many for few, many in pairs)
    assert len(pairs) > 15
