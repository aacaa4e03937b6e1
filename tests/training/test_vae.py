"""Training the λ-VAEs: the table, resuming, and figures that tell good priors from bad ones."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from synthface.errors import DatasetError
from synthface.networks.decoders import load_decoders
from synthface.networks.vae import FactorVae, VaeConfig
from training.lambda_table import COLUMNS, LambdaTable, read_table, write_table
from training.vae import measure
from training.vae.cli import vae
from training.vae.train import VaeRecipe, split_rows, train_factor

RECIPE = VaeRecipe(
    epochs=6,
    batch=32,
    lr=3e-3,
    halve_every=4,
    checkpoint_every=2,
    z_sizes={"identity": 4, "expression": 3, "lighting": 3, "pose": 2},
    widths={"identity": 16, "expression": 16, "lighting": 16, "pose": 16},
    num_draws=200,
)


def table(num: int = 240) -> LambdaTable:
    rng = np.random.default_rng(0)
    bend = rng.normal(size=(num, 1))
    columns = {
        "shape": rng.normal(size=(num, 4)),
        "albedo": rng.normal(size=(num, 2)),
        "expression": np.clip(rng.normal(0.1, 0.2, size=(num, 3)), 0, 1),
        "sh": rng.normal(size=(num, 27)) * 0.1 + 0.5,
        "pose_rad": np.concatenate([bend, bend**2, 0.1 * rng.normal(size=(num, 1))], axis=1) * 0.2,
    }
    keys = tuple(f"{n:05d}" for n in range(num))
    names = ("jaw_open", "mouth_smile_left", "eye_blink_left")
    return LambdaTable(keys, {k: v.astype(np.float32) for k, v in columns.items()}, names, "toy")


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_tables_survive_a_file(tmp_path: Path, suffix: str) -> None:
    before = table(7)
    write_table(tmp_path / f"lambda.{suffix}", before)
    after = read_table(tmp_path / f"lambda.{suffix}")
    assert after.keys == before.keys
    assert after.expression_names == before.expression_names
    assert after.morphable_model == "toy"
    assert all(np.array_equal(after.columns[name], before.columns[name]) for name in COLUMNS)
    assert torch.equal(after.sizes.pack(after.factors()), after.vector)


def test_bad_tables_are_refused_with_the_place(tmp_path: Path) -> None:
    good = table(5)
    bad = {**good.columns, "sh": good.columns["sh"].copy()}
    bad["sh"][3, 1] = np.nan
    write_table(tmp_path / "nan.npz", dataclasses.replace(good, columns=bad))
    with pytest.raises(DatasetError, match="column sh, row 3"):
        read_table(tmp_path / "nan.npz")
    np.savez(tmp_path / "short.npz", shape=np.zeros((2, 3)))
    with pytest.raises(DatasetError, match="no column albedo, expression"):
        read_table(tmp_path / "short.npz")
    with pytest.raises(DatasetError, match="can't be read"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(DatasetError, match="not a Parquet file"):
        read_table(tmp_path / "text.parquet")


def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    """Stopped after four epochs, and once with its last checkpoint cut short: the same weights and curve, bit for bit."""
    rows = table()
    columns = rows.sizes.columns("pose")
    split, config = split_rows(rows.vector, columns, RECIPE), RECIPE.config("pose", rows.sizes)
    whole, curve = train_factor("pose", split, config, RECIPE, tmp_path / "a", lambda line: None)
    stopped = dataclasses.replace(RECIPE, epochs=4)
    train_factor("pose", split, config, stopped, tmp_path / "b", lambda line: None)
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    part = next((tmp_path / "c" / "0000000004").glob("part*"))
    part.write_bytes(part.read_bytes()[:100])
    said: list[str] = []
    for name in ("b", "c"):
        resumed, resumed_curve = train_factor("pose", split, config, RECIPE, tmp_path / name, said.append)
        assert resumed_curve == curve
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert any("cut short" in line for line in said)


def test_the_learning_rate_halves_on_schedule_and_training_helps(tmp_path: Path) -> None:
    rows = table()
    split = split_rows(rows.vector, rows.sizes.columns("pose"), RECIPE)
    assert len(split.held_out) == 24
    assert len(split.train) == 216
    _, curve = train_factor(
        "pose",
        split,
        RECIPE.config("pose", rows.sizes),
        dataclasses.replace(RECIPE, epochs=40, halve_every=30),
        tmp_path,
        lambda line: None,
    )
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.5


def test_the_whole_stage(tmp_path: Path) -> None:
    """The command trains four VAEs, writes figures, pictures and decoders, and says the same when run again."""
    write_table(tmp_path / "lambda.parquet", table())
    recipe = {"vae": {**dataclasses.asdict(RECIPE)}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    arguments = [str(tmp_path / "lambda.parquet"), str(tmp_path / "out"), "--recipe", str(tmp_path / "recipe.json")]
    first = CliRunner().invoke(vae, arguments, catch_exceptions=False)
    again = CliRunner().invoke(vae, arguments, catch_exceptions=False)
    assert first.exit_code == again.exit_code == 0
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert json.loads(first.stdout) == json.loads(again.stdout) == figures
    assert set(figures) == {"identity", "expression", "lighting", "pose"}
    for name in figures:
        picture = Image.open(tmp_path / "out" / f"draws-{name}.png")
        assert len(picture.getcolors(1 << 24)) > 5
    decoders = load_decoders(tmp_path / "out" / "priors")
    rng = np.random.default_rng(0)
    drawn = decoders["expression"].decode(rng.normal(size=(300, 3)), residual=rng.normal(size=(300, 3)))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.std() > 0.01


def test_two_sample_accuracy_tells_same_from_different() -> None:
    torch.manual_seed(0)
    real, same, other = torch.randn(400, 4), torch.randn(400, 4), torch.randn(400, 4) * 2
    assert measure.classifier_two_sample(real, same, seed=0) < 0.6
    assert measure.classifier_two_sample(real, other, seed=0) > 0.75


def test_coverage_by_hand() -> None:
    """Draws that are the data cover it all; draws from half the data cover half; far draws cover nothing."""
    torch.manual_seed(0)
    real = torch.randn(100, 2)
    real[50:] += 100
    assert measure.coverage(real, real.clone(), torch.ones(2)) == 1.0
    assert measure.coverage(real, real[:50], torch.ones(2)) == 0.5
    assert measure.coverage(real, real + 1e4, torch.ones(2)) == 0.0


def test_the_likelihood_bound_is_exact_where_it_can_be() -> None:
    """A decoder that ignores z is a plain normal distribution: its density is known."""
    net = FactorVae(VaeConfig(3, 2, 4))
    with torch.no_grad():
        for parameter in (*net.decoder.parameters(), *net.encoder.parameters()):
            parameter.zero_()
        net.log_s.fill_(math.log(0.5))
    rows = torch.randn(50, 3)
    exact = torch.distributions.Normal(0.0, 0.5).log_prob(rows).sum(dim=1).mean().item()
    bound = measure.log_likelihood(net, rows, generator=torch.Generator().manual_seed(0))
    assert bound == pytest.approx(exact, rel=1e-5)


def test_gaussian_baseline_has_the_right_density_and_draws() -> None:
    torch.manual_seed(0)
    rows = torch.randn(20000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]) * 3 + 1
    gaussian = measure.Gaussian.fit(rows, rows.mean(dim=0), rows.std(dim=0), shrinkage=0.0)
    drawn = gaussian.draw(20000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(torch.cov(drawn.T), torch.cov(rows.T), rtol=0.1, atol=0.1)
    standard = (rows - rows.mean(dim=0)) / rows.std(dim=0)
    correlation = float(torch.corrcoef(rows.T)[0, 1])
    expected = -math.log(2 * math.pi) - 0.5 * math.log(1 - correlation**2) - 1.0
    assert gaussian.log_likelihood(rows) == pytest.approx(expected, abs=0.02)
    assert standard.shape == rows.shape


def test_a_vae_beats_the_gaussian_where_the_factor_is_curved(tmp_path: Path) -> None:
    """Pitch and yaw of the toy table lie on a parabola: the VAE's held-out density and draws are better."""
    rows = table(1500)
    recipe = dataclasses.replace(RECIPE, epochs=40, lr=5e-3, halve_every=15, checkpoint_every=40)
    split = split_rows(rows.vector, rows.sizes.columns("pose"), recipe)
    net, _ = train_factor("pose", split, recipe.config("pose", rows.sizes), recipe, tmp_path, lambda line: None)
    figures = measure.measure(net, split.train, split.held_out, num_draws=500, seed=0)
    likelihood = figures["held_out_log_likelihood_nats"]
    assert likelihood["vae"] > likelihood["gaussian"] + 0.5  # type: ignore[index]
    assert figures["reconstruction"]["held_out"]["r2"] > 0.9  # type: ignore[index]
    told_apart = figures["two_sample_accuracy"]
    assert told_apart["vae_draws"] < told_apart["gaussian"] - 0.1  # type: ignore[index]
