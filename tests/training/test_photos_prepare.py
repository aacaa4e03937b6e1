"""A folder of photos becomes a prepared folder: the good ones aligned, the others with reasons; a killed run goes on."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter
from safetensors.numpy import load_file

from synthface.errors import OutputMismatchError, PhotoError
from tests.training.photo_scenes import head, scene, surroundings
from training.__main__ import main
from training.photos import prepare as stage
from training.photos import work
from training.photos.align import CANVAS_PX, MARGIN_PX, five_points, model_five_points
from training.photos.detector import Detector, Face
from training.photos.prepare import Source, prepare
from training.photos.prepared import PreparedPhotos
from training.photos.quality import PrepareRecipe
from training.recipe import load_recipe


def _rejected(out: Path) -> dict[str, tuple[str, str]]:
    with open(out / "rejected.csv", encoding="utf-8", newline="") as file:
        return {row["source"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad photos, one of each kind."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    good, _ = scene((640, 480), [(0, 300, 200, 100)])
    good.save(folder / "good.jpg", quality=95)
    good.save(folder / "more" / "again.bmp")
    Image.open(folder / "good.jpg").save(folder / "more" / "twin.png")
    head(1)[0].convert("L").save(folder / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    scene((640, 480), [(2, 300, 100, 100)])[0].rotate(90, expand=True).save(folder / "turned.jpg", exif=exif.tobytes())
    surroundings(400, 300).save(folder / "no-face.jpg")
    scene((900, 500), [(1, 300, 550, 120), (2, 320, 100, 100)])[0].save(folder / "two.jpg")
    scene((500, 500), [(1, 80, 200, 200)])[0].save(folder / "small.jpg")
    good.filter(ImageFilter.GaussianBlur(4)).save(folder / "blurred.jpg")
    good.crop((0, 0, 370, 480)).save(folder / "cut.png")
    (folder / "broken.jpg").write_bytes((folder / "good.jpg").read_bytes()[:2000])
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture(scope="module")
def prepared(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ai_edge_litert", reason="the extra `photos` isn't installed")
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(Source(photos), out, PrepareRecipe())
    return out


def test_good_photos_are_accepted_and_others_have_their_reason(prepared: Path) -> None:
    assert PreparedPhotos(prepared).rows.source == ("good.jpg", "grey.png", "more/again.bmp", "turned.jpg")
    reasons = {source: reason for source, (reason, _) in _rejected(prepared).items()}
    assert reasons == {
        "blurred.jpg": "blurred",
        "broken.jpg": "can't be read",
        "cut.png": "cut off by the edge",
        "more/twin.png": "duplicate",
        "no-face.jpg": "no face",
        "small.jpg": "too small",
        "two.jpg": "several faces",
    }


def test_accepted_faces_are_where_the_model_looks_for_them(prepared: Path) -> None:
    done = PreparedPhotos(prepared)
    rows = done.rows
    assert rows.landmarks.shape == (4, 468, 2)
    for row in range(len(done)):
        off = five_points(rows.landmarks[row] - MARGIN_PX) - model_five_points()
        assert np.linalg.norm(off, axis=1).mean() < 4
        assert done.photo(row).shape == (CANVAS_PX, CANVAS_PX, 3)
        assert 0.5 < rows.score[row] <= 1
        assert 0.6 < rows.coverage[row] <= 1
        assert rows.sharpness[row] > 10


def test_crops_lead_from_the_source_to_the_landmarks(photos: Path, prepared: Path) -> None:
    rows = PreparedPhotos(prepared).rows
    good = rows.source.index("more/again.bmp")
    truth = scene((640, 480), [(0, 300, 200, 100)])[1][0]
    source = (five_points(rows.landmarks[good]) - MARGIN_PX - rows.crop[good, 1:]) / rows.crop[good, 0]
    assert np.linalg.norm(source - five_points(truth), axis=1).mean() < 5


def test_the_folder_says_how_it_came_about(prepared: Path, photos: Path) -> None:
    figures = json.loads((prepared / "metrics.json").read_text())
    assert (figures["num_photos"], figures["num_accepted"], figures["num_landmarks"]) == (11, 4, 468)
    assert sum(figures["rejected"].values()) == 7
    assert figures["accepted"]["eye_distance_px"]["min"] > 36
    assert load_recipe(prepared / "config.json", "prepare", PrepareRecipe) == PrepareRecipe()
    assert json.loads((prepared / "config.json").read_text())["run"]["photos"] == str(photos.resolve())
    assert not (prepared / "parts").exists()
    for sheet in ("accepted.jpg", "rejected.jpg"):
        assert np.asarray(Image.open(prepared / sheet)).std() > 20


def test_the_packed_file_is_safetensors(prepared: Path) -> None:
    arrays = load_file(prepared / "photos.safetensors")
    assert arrays["offsets"].tolist()[0] == 0
    assert arrays["offsets"][-1] == len(arrays["jpeg"])
    assert arrays["jpeg"][arrays["offsets"][1] :][:2].tolist() == [0xFF, 0xD8]


def test_preparing_again_does_nothing_unless_something_changed(prepared: Path, photos: Path, tmp_path: Path) -> None:
    out, said = tmp_path / "out", []
    shutil.copytree(prepared, out)
    before = (out / "photos.safetensors").stat().st_mtime_ns
    prepare(Source(photos), out, PrepareRecipe(), say=said.append)
    assert (out / "photos.safetensors").stat().st_mtime_ns == before
    assert any("nothing to do" in line for line in said)
    with pytest.raises(OutputMismatchError, match="--overwrite"):
        prepare(Source(photos), out, PrepareRecipe(max_second_face=1))
    figures = prepare(Source(photos), out, PrepareRecipe(max_second_face=1), overwrite=True)
    assert "several faces" not in figures["rejected"]
    assert "two.jpg" in PreparedPhotos(out).rows.source


def test_the_command_prints_a_summary(photos: Path, prepared: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"prepare": {"min_sharpness": 0}}))
    command = ["prepare", str(photos), str(tmp_path / "out"), "--recipe", str(recipe), "--workers", "2"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert "5 of 11 photos accepted" in result.stdout
    assert "several faces" in result.stdout
    assert "1 files ignored that aren't photos: notes.txt" in result.stderr
    again = CliRunner().invoke(main, [*command, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["num_accepted"] == 5


class Ruler:
    """A detector of ours: the face fills the middle half of every photo, and it is counted how many it has seen."""

    def find(self, photo: np.ndarray, near: np.ndarray | None = None) -> Sequence[Face]:
        height, width = photo.shape[:2]
        points = (model_five_points() / 256 - 0.5) * min(height, width) * 0.8 + [width / 2, height / 2]
        return [Face(points, 0.9, 100.0)]


def _noise(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(count):
        Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(folder / f"{n:03d}.png")
    return folder


def _ruler(folder: Path) -> Source:
    return Source(folder, f"{__name__}:Ruler")


def _contents(out: Path) -> Mapping[str, bytes]:
    return {
        path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".safetensors", ".csv", ".parquet")
    }


@pytest.fixture
def ruler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "load_detector", lambda name: Ruler())
    monkeypatch.setattr(stage, "CHUNK", 4)


def test_any_detector_that_keeps_to_the_protocol_does(tmp_path: Path, ruler: None) -> None:
    detector: Detector = Ruler()
    assert len(detector.find(np.zeros((9, 9, 3), np.uint8))) == 1
    figures = prepare(_ruler(_noise(tmp_path / "in", 6)), tmp_path / "out", PrepareRecipe())
    assert (figures["num_accepted"], figures["num_landmarks"]) == (6, 5)
    np.testing.assert_allclose(
        PreparedPhotos(tmp_path / "out").rows.landmarks[3] - MARGIN_PX, model_five_points(), atol=1e-3
    )


def test_a_killed_run_goes_on_and_ends_alike(tmp_path: Path, ruler: None) -> None:
    photos = _noise(tmp_path / "in", 14)
    prepare(_ruler(photos), tmp_path / "whole", PrepareRecipe())

    def stop(done: int, total: int, seconds: float) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(_ruler(photos), tmp_path / "out", PrepareRecipe(), on_progress=stop)
    parts = sorted((tmp_path / "out" / "parts").iterdir())
    assert len(parts) == 2
    parts[1].write_bytes(parts[1].read_bytes()[:-10])  # as a machine's sudden end may leave it
    totals, said = [], []
    prepare(
        _ruler(photos),
        tmp_path / "out",
        PrepareRecipe(),
        on_progress=lambda done, total, seconds: totals.append((done, total)),
        say=said.append,
    )
    assert totals == [(4, 10), (8, 10), (10, 10)]
    assert any("4 photos were done" in line for line in said)
    assert _contents(tmp_path / "out") == _contents(tmp_path / "whole")


def test_what_has_changed_meanwhile_is_done_anew(tmp_path: Path, ruler: None) -> None:
    photos = _noise(tmp_path / "in", 8)

    def stop(done: int, total: int, seconds: float) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(_ruler(photos), tmp_path / "out", PrepareRecipe(), on_progress=stop)
    Image.new("RGB", (200, 200)).save(photos / "005.png")
    totals = []
    prepare(_ruler(photos), tmp_path / "out", PrepareRecipe(), on_progress=lambda done, total, s: totals.append(total))
    assert totals == [4]
    assert _rejected(tmp_path / "out")["005.png"][0] == "blurred"


def test_when_no_photo_does_the_reasons_are_told(tmp_path: Path, ruler: None) -> None:
    photos = _noise(tmp_path / "in", 3)
    with pytest.raises(PhotoError, match="no photo was accepted.*3 too small"):
        prepare(_ruler(photos), tmp_path / "out", PrepareRecipe(min_eye_distance_px=500))
    assert len(_rejected(tmp_path / "out")) == 3
    assert (tmp_path / "out" / "rejected.jpg").exists()


def test_results_may_not_lie_among_the_photos(tmp_path: Path) -> None:
    photos = _noise(tmp_path / "in", 1)
    with pytest.raises(PhotoError, match="lies in the folder of photos"):
        prepare(_ruler(photos), photos / "out", PrepareRecipe())


def test_given_landmarks_need_no_detector(tmp_path: Path) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    rows = []
    for n in range(3):
        picture, landmarks = scene((500, 500), [(n, 300, 100, 100)], seed=n)
        picture.save(photos / f"{n}.png")
        rows.append(landmarks[0])
    np.save(tmp_path / "l.npy", np.array([rows[0], np.full((68, 2), np.nan), rows[2]]))
    figures = prepare(Source(photos, None, tmp_path / "l.npy"), tmp_path / "out", PrepareRecipe())
    assert (figures["num_accepted"], figures["num_landmarks"]) == (2, 68)
    assert _rejected(tmp_path / "out") == {"1.png": ("no landmarks", "none are given for it")}
    done = PreparedPhotos(tmp_path / "out").rows
    back = (done.landmarks[1] - MARGIN_PX - done.crop[1, 1:]) / done.crop[1, 0]
    np.testing.assert_allclose(back, rows[2], atol=1e-2)


def test_five_given_points_cut_off_at_the_chin_are_told_by_the_mean_head(tmp_path: Path) -> None:
    picture, landmarks = scene((500, 500), [(0, 300, 100, 100)])
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "whole.png")
    picture.crop((0, 0, 500, round(landmarks[0][54, 1]) + 4)).save(tmp_path / "in" / "cut.png")
    five = " ".join(f"{v:.1f}" for v in five_points(landmarks[0]).reshape(-1))
    (tmp_path / "l.txt").write_text(f"whole.png {five}\ncut.png {five}\n")
    prepare(Source(tmp_path / "in", None, tmp_path / "l.txt"), tmp_path / "out", PrepareRecipe())
    assert {source: reason for source, (reason, _) in _rejected(tmp_path / "out").items()} == {
        "cut.png": "cut off by the edge"
    }


def test_five_given_points_and_the_face_mesh_give_468(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra `photos` isn't installed")
    picture, landmarks = scene((900, 500), [(1, 300, 550, 120), (2, 320, 100, 100)])
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "two.png")
    five = five_points(landmarks[0])
    (tmp_path / "l.txt").write_text("two.png " + " ".join(f"{v:.1f}" for v in five.reshape(-1)))
    figures = prepare(Source(tmp_path / "in", "facemesh", tmp_path / "l.txt"), tmp_path / "out", PrepareRecipe())
    assert figures["num_landmarks"] == 468
    done = PreparedPhotos(tmp_path / "out").rows
    found = (five_points(done.landmarks[0]) - MARGIN_PX - done.crop[0, 1:]) / done.crop[0, 0]
    assert np.linalg.norm(found - five, axis=1).mean() < 6
