"""Audits while rendering: what fails is marked, left out or drawn again, and the bytes depend on the spec alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import synthface
from synthface.pipeline import Progress, render
from synthface.quality import estimators
from synthface.report.html import html_report
from tests.quality.estimators import SeesTurnedHeads, untrained
from tests.specs_for_tests import tiny
from tests.test_pipeline import hashes

ONLY_POSE = {"expression": "off", "lighting": "off", "landmarks": "off", "identity": "off"}
COUNTS = {"identities": {"count": 8}, "images_per_identity": 4, "splits": {"train": 0.75, "test": 0.25}}


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> SeesTurnedHeads:
    """Under the name `turned`: fails pictures with a dark background."""
    estimator = SeesTurnedHeads()
    monkeypatch.setitem(estimators.ESTIMATORS, "turned", lambda device: estimator)
    return estimator


def spec(audit: dict[str, Any], **changes: Any) -> dict[str, Any]:
    audit = {"pose_deg": 45, **ONLY_POSE, "estimator": "turned", **audit}
    return tiny(quality={"audit": audit}, **{**COUNTS, **changes})


def labels(folder: Path) -> pd.DataFrame:
    return synthface.labels(folder).set_index("key")


def quality(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["quality"]
    return found


@pytest.fixture
def flagged(turned: SeesTurnedHeads, tmp_path: Path) -> pd.DataFrame:
    render(spec({"on_fail": "flag"}), tmp_path / "flag")
    assert synthface.verify(tmp_path / "flag").is_sound
    return labels(tmp_path / "flag")


def test_what_fails_is_marked_with_its_residual(flagged: pd.DataFrame, tmp_path: Path) -> None:
    assert flagged.audit_checked.all()
    assert 0.2 < flagged.audit_failed.mean() < 0.8
    assert (flagged.audit_failed == (flagged.audit_pose_deg > 45)).all()
    failed = flagged[flagged.audit_failed]
    np.testing.assert_allclose(failed.audit_yaw_error_deg, 90 - failed.yaw_deg, atol=1e-3)
    assert (flagged.audit_tries == 1).all()
    found = quality(tmp_path / "flag")["audit"]
    assert (found["checked"], found["failed"], found["dropped"]) == (32, int(flagged.audit_failed.sum()), 0)
    assert found["factors"]["pose_deg"]["failed"] == found["failed"]
    assert found["bias_deg"]["yaw"]["mean"] == pytest.approx(flagged.audit_yaw_error_deg.mean(), rel=1e-5)
    card = (tmp_path / "flag" / "README.md").read_text()
    assert "**estimated** from the finished picture" in card
    assert f"{found['failed']} failed and are marked `audit_failed`. Allowed: pose_deg 45." in card
    report = html_report(tmp_path / "flag")
    assert "<h2>Audit</h2>" in report
    assert f"{found['failed']} beyond 45.0" in report


def test_what_fails_is_left_out_and_pairs_with_it(
    turned: SeesTurnedHeads, tmp_path: Path, flagged: pd.DataFrame
) -> None:
    pairs = {"p": {"split": "train", "genuine": 20, "impostor": 20, "folds": 1}}
    summary = render(spec({"on_fail": "drop"}, pairs=pairs), tmp_path / "drop")
    assert summary.is_finished
    left = labels(tmp_path / "drop")
    assert list(left.index) == list(flagged.index[~flagged.audit_failed])
    assert not left.audit_failed.any()
    assert synthface.verify(tmp_path / "drop").is_sound
    manifest = json.loads((tmp_path / "drop" / "manifest.json").read_text())
    assert manifest["counts"]["images"] == len(left)
    assert sum(split["images"] for split in manifest["counts"]["splits"].values()) == len(left)
    assert sum(shard["count"] for shard in manifest["shards"]) == len(left)
    written = manifest["quality"]["pairs"]["p"]
    assert written["asked"] == 40
    assert written["written"] == len(pd.read_csv(tmp_path / "drop" / "pairs" / "p.csv")) < 40
    assert any("are left out" in text for text in summary.shortfalls)
    assert any(text.startswith("pairs p:") for text in summary.shortfalls)
    assert sum(1 for _ in synthface.open_dataset(tmp_path / "drop")) == len(left)


def test_another_noise_keeps_the_factors(turned: SeesTurnedHeads, tmp_path: Path, flagged: pd.DataFrame) -> None:
    output = {"image": {"size": 32}, "shards": {"samples": 8}, "annotations": ["landmarks", "lambda"]}
    summary = render(spec({"on_fail": "resample", "max_tries": 8}, output=output), tmp_path / "again")
    again = labels(tmp_path / "again")
    assert not again.audit_failed.any()
    assert summary.shortfalls == ()
    np.testing.assert_array_equal(again.audit_tries > 1, flagged.audit_failed)
    for name in ("yaw_deg", "pitch_deg", "light_azimuth_deg", "skin_tone_ita_deg"):
        np.testing.assert_array_equal(again[name], flagged[name])
    assert quality(tmp_path / "again")["audit"]["drawn_again"] == flagged.audit_failed.sum()
    assert quality(tmp_path / "again")["audit"]["tries"] == again.audit_tries.sum()
    # ε in the labels is the one that the picture was drawn with: its backdrop isn't dark.
    noise = np.stack(again.noise.to_list())
    assert len(np.unique(noise, axis=0)) == 32


def test_other_factors_are_another_draw_of_the_same_distributions(
    turned: SeesTurnedHeads, tmp_path: Path, flagged: pd.DataFrame
) -> None:
    post = {"image": {"size": 32}, "shards": {"samples": 8}, "post": [{"gaussian_noise": {"uniform": [0, 2]}}]}
    render(spec({"on_fail": "resample", "redraw": "factors", "max_tries": 8}, output=post), tmp_path / "again")
    again = labels(tmp_path / "again")
    changed = again.audit_tries > 1
    np.testing.assert_array_equal(changed, flagged.audit_failed)
    assert (again.yaw_deg != flagged.yaw_deg)[changed].all()
    np.testing.assert_array_equal(again.yaw_deg[~changed], flagged.yaw_deg[~changed])
    np.testing.assert_array_equal(again.skin_tone_ita_deg, flagged.skin_tone_ita_deg)
    render(spec({"on_fail": "flag"}, output=post), tmp_path / "plain")
    np.testing.assert_array_equal(again.post0_gaussian_noise, labels(tmp_path / "plain").post0_gaussian_noise)


def test_when_tries_run_out_the_best_is_kept_and_said_so(turned: SeesTurnedHeads, tmp_path: Path) -> None:
    turned.level = 9.0  # nothing passes
    summary = render(spec({"on_fail": "resample", "max_tries": 3}), tmp_path / "out")
    found = labels(tmp_path / "out")
    assert found.audit_failed.all()
    assert (found.audit_tries == 3).all()
    assert "32 of 32 pictures looked at failed however often" in summary.shortfalls[0]
    assert turned.num_seen == 3 * 32


def test_a_sample_is_chosen_by_image_whatever_the_filing(turned: SeesTurnedHeads, tmp_path: Path) -> None:
    turned.num_seen = 0
    render(spec({"fraction": 0.4}), tmp_path / "some")
    some = labels(tmp_path / "some")
    assert turned.num_seen == some.audit_checked.sum()
    assert 5 <= turned.num_seen <= 22
    unseen = some[~some.audit_checked]
    assert (unseen.audit_pose_deg == -1).all()
    assert not unseen.audit_failed.any()
    shuffled = {"image": {"size": 32}, "shards": {"samples": 16, "order": "shuffled"}}
    render(spec({"fraction": 0.4}, output=shuffled), tmp_path / "shuffled")
    rows = [
        d.set_index(["identity", "image"]).audit_checked.sort_index() for d in (some, labels(tmp_path / "shuffled"))
    ]
    assert rows[0].equals(rows[1])


class StoppedError(Exception):
    pass


def stop_after(count: int) -> Callable[[Progress], None]:
    def on_progress(progress: Progress) -> None:
        if progress.what == "images" and progress.done >= count:
            raise StoppedError

    return on_progress


@pytest.mark.parametrize("on_fail", ["resample", "drop"])
def test_bytes_depend_on_neither_parts_nor_kills(tmp_path: Path, on_fail: str) -> None:
    """With a real network."""
    audit = {"pose_deg": 11, "estimator": str(untrained(tmp_path / "network")), "on_fail": on_fail, "redraw": "factors"}
    wanted = spec({**audit, "max_tries": 3})
    render(wanted, tmp_path / "one")
    found = labels(tmp_path / "one")
    assert (found.audit_tries > 1).any() if on_fail == "resample" else len(found) < 32
    with pytest.raises(StoppedError):
        render(wanted, tmp_path / "stopped", on_progress=stop_after(20))
    render(wanted, tmp_path / "stopped")
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "one")
    render(wanted, tmp_path / "parts", part=(2, 2))
    render(wanted, tmp_path / "parts", part=(1, 2))
    assert hashes(tmp_path / "parts") == hashes(tmp_path / "one")


def test_two_workers_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    audit = {
        "pose_deg": 11,
        "estimator": str(untrained(tmp_path / "network")),
        "on_fail": "resample",
        "redraw": "factors",
    }
    render(spec(audit), tmp_path / "one")
    render(spec(audit), tmp_path / "two", workers=2)
    assert (labels(tmp_path / "one").audit_tries > 1).any()
    assert hashes(tmp_path / "two") == hashes(tmp_path / "one")


def test_a_missing_network_is_found_before_anything_is_written(tmp_path: Path) -> None:
    from synthface.errors import GeneratorError

    with pytest.raises(GeneratorError, match="no estimator 'nobody'"):
        render(spec({"estimator": "nobody"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_identities_are_compared_with_their_standard_pictures(turned: SeesTurnedHeads, tmp_path: Path) -> None:
    """Distances to one's own standard picture are smaller than to another's, and stand in the labels."""
    from synthface.identities import read_chosen

    audit = {"identity": 1.5, "pose_deg": 100}
    output = {"image": {"size": 96}, "shards": {"samples": 8}}
    render(spec(audit, output=output, images_per_identity=1), tmp_path / "out")
    found = labels(tmp_path / "out")
    chosen = read_chosen((tmp_path / "out" / "identities.parquet").read_bytes())
    assert chosen is not None
    assert chosen.persons.tolist() == list(range(8))
    assert chosen.descriptors is not None
    between = 1 - chosen.descriptors @ chosen.descriptors.T
    assert found.audit_identity.median() < 0.5 * np.median(between[np.triu_indices(8, 1)])
    assert "identities" not in quality(tmp_path / "out")  # nothing was chosen


@pytest.mark.parametrize(
    ("audit", "changes", "word"),
    [
        ({"on_fail": "resample", "redraw": "factors"}, {"design": "sobol"}, "redraw: noise"),
        ({"on_fail": "resample"}, {"factors": {"noise": {"per": "identity"}}}, "ε is the same for several images"),
        ({"pose_deg": "off"}, {}, "everything is off"),
        ({"pose_deg": "of"}, {}, "allowed: off"),
    ],
)
def test_what_an_audit_cant_do_is_said(audit: dict[str, Any], changes: dict[str, Any], word: str) -> None:
    from synthface.errors import SpecError
    from synthface.spec import load_spec

    with pytest.raises(SpecError, match=word):
        load_spec(spec(audit, **changes))
