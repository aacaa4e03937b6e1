"""Training goes on where it was stopped, bit for bit; settings files load; a trained network is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from recipes.common.schedule import ScheduleSettings
from recipes.landmarks.training import LandmarkSettings
from recipes.recognition.__main__ import main
from recipes.recognition.networks import NetworkSettings
from recipes.recognition.training import RecognitionSettings, train_recognition
from synthface.errors import OutputMismatchError, SynthfaceError
from training.gan.world import World
from training.recipe import load_recipe, read_sections

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = RECIPES / "recognition" / "tiny.yaml"
ALONE = World(0, 1, torch.device("cpu"))


def quiet(line: str) -> None:
    pass


def tiny(**loop: Any) -> RecognitionSettings:
    settings = load_recipe(TINY, "recognition", RecognitionSettings)
    return replace(settings, loop=replace(settings.loop, **loop))


def test_every_settings_file_loads() -> None:
    files = [p for folder in ("recognition", "landmarks") for p in sorted((RECIPES / folder).glob("*.yaml"))]
    files.append(RECIPES / "recognition" / "study" / "settings.yaml")
    assert len(files) >= 6
    for path in files:
        (section,) = read_sections(path)
        kind: Any = {"recognition": RecognitionSettings, "landmarks": LandmarkSettings}[section]
        load_recipe(path, section, kind)
        folder = path.parent.name if path.parent.name != "study" else "recognition"
        assert f"-m recipes.{folder} " in path.read_text(), f"{path} lacks its command"


def test_a_run_stopped_in_the_middle_ends_as_one_that_wasnt(faces: Path, tmp_path: Path) -> None:
    """Stopped within an epoch and after a changed learning rate; with dropout, whose randomness must come back too."""
    settings = tiny()
    network = NetworkSettings("ir18", 32, 0.0625, 8, dropout=0.5)
    schedule = ScheduleSettings(epochs=1.34, learning_rate=0.05)  # 8 steps, 6 an epoch
    settings = replace(settings, network=network, loop=replace(settings.loop, schedule=schedule))
    whole = train_recognition(settings, faces, tmp_path / "whole", world=ALONE, report=quiet)
    for stop in (3, 7):
        assert train_recognition(settings, faces, tmp_path / "parts", world=ALONE, max_steps=stop, report=quiet) is None
    parts = train_recognition(settings, faces, tmp_path / "parts", world=ALONE, report=quiet)
    assert whole is not None
    assert parts is not None
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(1, 9))
    assert (tmp_path / "parts" / "network" / "config.json").is_file()


def test_a_folder_of_another_run_is_refused(faces: Path, tmp_path: Path) -> None:
    train_recognition(tiny(), faces, tmp_path, world=ALONE, max_steps=1, report=quiet)
    with pytest.raises(OutputMismatchError, match="a run with other settings"):
        train_recognition(tiny(seed=1), faces, tmp_path, world=ALONE, report=quiet)


def test_half_precision_trains_the_same_weights_in_float32(faces: Path, tmp_path: Path) -> None:
    settings = tiny(precision="bfloat16")
    network = train_recognition(settings, faces, tmp_path, world=ALONE, report=quiet)
    assert network is not None
    assert {v.dtype for v in network.state_dict().values()} == {torch.float32, torch.int64}
    assert all(torch.isfinite(v).all() for v in network.state_dict().values())


def test_a_loss_that_is_no_number_stops_the_run(faces: Path, tmp_path: Path) -> None:
    wild = ScheduleSettings(epochs=2, learning_rate=1e30, warmup=0.0, clip_norm=1e30)
    with pytest.raises(SynthfaceError, match=r"the loss is \S+ at step \d+; lower schedule.learning_rate"):
        train_recognition(tiny(schedule=wild), faces, tmp_path, world=ALONE, report=quiet)


def test_rates_follow_the_fields_schedules() -> None:
    steps = ScheduleSettings(kind="steps", learning_rate=1.0, warmup=0.1, milestones=(0.5, 0.75))
    assert [round(steps.rate(t), 6) for t in (0, 0.05, 0.1, 0.49, 0.5, 0.8)] == [0, 0.5, 1, 1, 0.1, 0.01]
    falling = ScheduleSettings(kind="polynomial", learning_rate=1.0, warmup=0.0, power=2.0)
    assert [falling.rate(t) for t in (0.0, 0.5, 1.0)] == [1, 0.25, 0]


def test_the_commands_train_and_measure(faces: Path, tmp_path: Path) -> None:
    run = CliRunner()
    trained = run.invoke(
        main, ["train", str(TINY), "--data", str(faces), "--out", str(tmp_path / "run"), "--device", "cpu"]
    )
    assert trained.exit_code == 0, trained.output
    arguments = ["evaluate", str(tmp_path / "run" / "network"), "--data", str(faces), "--data", f"{faces}:turned"]
    measured = run.invoke(main, [*arguments, "--out", str(tmp_path / "report")])
    assert measured.exit_code == 0, (measured.output, measured.exception)
    result = json.loads((tmp_path / "report" / "verification.json").read_text())
    assert set(result) == {"any", "turned"}
    assert 0 <= result["any"]["accuracy"] <= 1
    assert set(result["any"]["by"]) == {"yaw_deg", "light_azimuth_deg", "skin_tone_ita_deg"}
    page = (tmp_path / "report" / "verification.html").read_text()
    assert page.count("<svg") == 1
    assert "skin_tone_ita_deg" in page
    nothing = run.invoke(main, ["evaluate", str(tmp_path / "run" / "network"), "--out", str(tmp_path / "report")])
    assert "no pairs to measure on" in str(nothing.exception)


@pytest.mark.slow
def test_two_processes_train_as_one(faces: Path, tmp_path: Path) -> None:
    """Under torchrun with accelerate: each reads its own samples, and both hold the same weights to the end."""
    pytest.importorskip("accelerate")
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517", str(script)]
    path = os.pathsep.join([str(RECIPES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(TINY), str(faces), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("same everywhere") == 2
    assert (tmp_path / "run" / "checkpoints" / "0000000004").is_dir()
