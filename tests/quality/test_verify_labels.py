"""Audits of datasets that are there: planted faults are found, faultless ones aren't, and what is off in all has its size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import synthface
from synthface.cli import cli
from synthface.errors import DatasetError
from synthface.job import prepare
from synthface.pipeline import render
from synthface.quality import estimators
from synthface.quality.verify import LabelReport, verify_labels
from synthface.sampling import sample
from synthface.tiles import make_pictures
from tests.quality.estimators import Remembers
from tests.quality.planting import mirrored, plainly_sided, planted, shifted, swapped, with_yaw
from tests.specs_for_tests import tiny

NUM = 48
#: What an estimator that errs by nothing can be held to.
STRICT = {"pose_deg": 2.0, "expression": 0.2, "lighting": 0.05, "landmarks": 0.02, "identity": 1.6}


def spec(**changes: Any) -> dict[str, Any]:
    return tiny(
        identities={"count": 12},
        images_per_identity=4,
        splits={"train": 0.75, "test": 0.25},
        factors={
            "pose": {"yaw": {"uniform": [-40, 40]}},
            "lighting": {
                "ambient": 0.3,
                "lights": [{"azimuth": {"uniform": [-80, 80]}, "elevation": 20, "intensity": 0.8}],
            },
        },
        output={"image": {"size": 64}, "shards": {"samples": 16}},
        **changes,
    )


def memory(document: dict[str, Any]) -> Remembers:
    """Has seen every picture of a spec."""
    job = prepare({**document, "quality": {"audit": {"identity": "off"}}})
    tiles = [np.arange(start, start + 8) for start in range(0, job.plan.num_images, 8)]
    return Remembers([make_pictures(job, sample(job.plan, tile)) for tile in tiles])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audited") / "out"
    render(spec(), out)
    return out


@pytest.fixture(scope="module")
def remembers() -> Remembers:
    return memory(spec())


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, remembers: Remembers) -> None:
    monkeypatch.setitem(estimators.ESTIMATORS, "remembers", lambda device: remembers)


def look(dataset: Path, **options: Any) -> LabelReport:
    limits = {"identity": 1.6, **options.pop("limits", {})}  # with few pictures of each, f_id says little
    return verify_labels(dataset, estimator="remembers", limits=limits, **options)


def rows_of(report: LabelReport) -> list[int]:
    return [int(sample.key) for sample in report.failed]


def test_a_faultless_dataset_is_sound(dataset: Path) -> None:
    report = look(dataset)
    assert report.is_sound
    assert (report.num_checked, report.failed) == (NUM, ())
    assert report.factors["pose_deg"]["p99"] < 0.01
    assert all(abs(bias.median) < 0.01 for bias in report.biases)
    assert report.factors["identity"]["median"] < 0.6  # against the identity's other pictures


def test_swapped_pictures_are_found(dataset: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).permutation(NUM)[:12]
    report = look(planted(dataset, tmp_path / "swapped", swapped(rows)), limits=STRICT)
    assert not report.is_sound
    assert set(rows_of(report)) == set(rows.tolist())
    worst = max(report.failed, key=lambda sample: sample.excess)
    assert worst.excess > 2


def test_labels_shifted_by_one_are_found(dataset: Path, tmp_path: Path) -> None:
    report = look(planted(dataset, tmp_path / "shifted", shifted(NUM)), limits=STRICT)
    assert len(report.failed) == NUM
    assert "pictures (" in report.problems[-1]


def test_mirrored_pictures_are_found(dataset: Path, tmp_path: Path) -> None:
    rows = plainly_sided(dataset)
    assert len(rows) > 0.8 * NUM
    report = look(planted(dataset, tmp_path / "mirrored", dict.fromkeys(rows.tolist(), mirrored)), limits=STRICT)
    assert set(rows.tolist()) <= set(rows_of(report))


def test_ten_degrees_on_every_yaw_are_found_with_their_size(dataset: Path, tmp_path: Path) -> None:
    """Even where no single picture may fail by it."""
    report = look(with_yaw(dataset, tmp_path / "turned", 10.0), limits={"pose_deg": 30.0})
    assert report.failed == ()
    (problem,) = report.problems
    assert problem.startswith("yaw: labels are off by +10")
    (bias,) = [bias for bias in report.biases if bias.is_off]
    assert (bias.name, round(bias.median, 3)) == ("yaw_deg", -10.0)


def test_a_sample_is_audited(dataset: Path) -> None:
    report = look(dataset, fraction=0.4)
    assert 8 < report.num_checked < 32
    assert look(dataset, fraction=0.4).num_checked == report.num_checked


def test_crops_are_put_back_before_they_are_read(tmp_path: Path) -> None:
    document = spec()
    document["output"] = {"image": {"size": 64, "crop": "arcface"}, "shards": {"samples": 16}}
    render(document, tmp_path / "cropped")
    memory_of_views = memory(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(estimators.ESTIMATORS, "remembers", lambda device: memory_of_views)
        report = look(tmp_path / "cropped")
        assert report.factors["pose_deg"]["median"] < 0.01
        assert report.factors["landmarks"]["median"] < 0.01
        assert len(report.failed) <= 2  # so much of a picture is missing that another may be more alike


def test_limits_can_be_set_and_taken_away(dataset: Path) -> None:
    strict = look(dataset, limits={"identity": 1e-6})
    assert len(strict.failed) == NUM
    assert look(dataset, limits={"identity": None}).factors.keys() == {
        "pose_deg",
        "expression",
        "lighting",
        "landmarks",
    }
    with pytest.raises(DatasetError, match="no limit 'poze'"):
        look(dataset, limits={"poze": 1.0})


def test_the_command_fails_and_lists_what_it_found(dataset: Path, tmp_path: Path) -> None:
    wrong = planted(dataset, tmp_path / "swapped", swapped(np.arange(8)))
    strict = [word for name, limit in STRICT.items() for word in ("--limit", f"{name}={limit}")]
    arguments = ["verify", str(wrong), "--labels", "--estimator", "remembers", *strict]
    arguments += ["--failed", str(tmp_path / "failed.csv")]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, synthface.errors.OutputError)
    assert "8 are beyond a limit" in done.output
    assert len((tmp_path / "failed.csv").read_text().splitlines()) == 9
    sound = CliRunner().invoke(cli, ["verify", str(dataset), "--labels", "--estimator", "remembers", *strict, "--json"])
    assert sound.exit_code == 0
    found = json.loads(sound.stdout)
    assert (found["num_checked"], found["problems"]) == (NUM, [])
    loose = CliRunner().invoke(cli, [*arguments, "--allow", "0.5"])
    assert loose.exit_code == 0
    assert CliRunner().invoke(cli, ["verify", str(dataset), "--labels", "--limit", "pose=3"]).exit_code == 2
