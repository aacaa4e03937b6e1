"""Leakage: people of the photos among the identities are found, strangers aren't, and the photos needn't be there."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from synthface.cli import cli
from synthface.errors import DatasetError, OutputError, PhotoError
from synthface.networks.recognition import load_recognition
from synthface.pipeline import render, samples
from synthface.quality.leakage import leakage, leakage_text, nearest
from synthface.quality.photos import Photos, read_photos, write_descriptors
from synthface.quality.separation import unit
from tests.specs_for_tests import tiny


def spec(seed: int, count: int = 12, **changes: Any) -> dict[str, Any]:
    """Frontal heads, one picture each."""
    factors = {
        "pose": {"yaw": 0, "pitch": 0, "roll": 0},
        "expression": {"neutral": True},
        "lighting": {"preset": "frontal"},
    }
    output = {"image": {"size": 128}, "shards": {"samples": 8}}
    return tiny(
        seed=seed, identities={"count": count}, images_per_identity=1, splits={"train": 1.0}, factors=factors, output=output,
        **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("leak") / "out"
    render(spec(7), out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 24 strangers and, as number 5, of the dataset's identity 3; landmarks.npy beside them."""
    out = tmp_path_factory.mktemp("photos")
    people = [(s["image"], s["labels"]["landmarks68_px"]) for s in samples(spec(99, 24))]
    (known,) = [s for s in samples(spec(7)) if s["identity"] == 3]
    people.insert(5, (known["image"], known["labels"]["landmarks68_px"]))
    (out / "photos").mkdir()
    for number, (image, _) in enumerate(people):
        Image.fromarray(image).save(out / "photos" / f"{number:03d}.png")
    np.save(out / "landmarks.npy", np.array([points for _, points in people], np.float32))
    return out


@pytest.fixture(scope="module")
def photos(folder: Path) -> Photos:
    return read_photos(folder / "photos", load_recognition(), landmarks=folder / "landmarks.npy")


def test_who_was_photographed_is_found(dataset: Path, photos: Photos) -> None:
    report, sheet = leakage(dataset, photos, load_recognition(), threshold=0.01)
    assert report.has_leaked
    assert report.num_near == 1
    first = report.nearest[0]
    assert (first.identity, first.photo) == (3, "005.png")
    assert first.distance < 0.005
    assert report.nearest[1].distance > 5 * first.distance
    assert sheet.width > 8 * 100
    assert "12 identities against 25 photos" in leakage_text(report)


def test_against_the_reference_one_of_twelve_is_hardly_chance(dataset: Path, photos: Photos) -> None:
    report, _ = leakage(dataset, photos, load_recognition())
    assert report.expected == pytest.approx(0.12)
    assert report.p_value == pytest.approx(1 - 0.99**12 if report.num_near == 1 else report.p_value)


def test_strangers_are_no_nearer_than_photos_are_to_each_other(photos: Photos, tmp_path: Path) -> None:
    render(spec(1234, 16), tmp_path / "out")
    report, _ = leakage(tmp_path / "out", photos, load_recognition())
    assert not report.has_leaked
    assert report.identity_to_photo["0.5"] == pytest.approx(report.photo_to_photo["0.5"], rel=0.5)


def test_neighbours_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = (unit(rng.normal(size=(n, 8)), np.zeros(8)) for n in (1500, 40))
    distance, which = nearest(a, b)
    np.testing.assert_array_equal(which, (a @ b.T).argmax(axis=1))
    np.testing.assert_allclose(distance, 1 - (a @ b.T).max(axis=1), atol=1e-6)
    own, other = nearest(a, a, is_same=True)
    assert (other != np.arange(1500)).all()
    assert own.min() > 0


def test_a_file_of_descriptors_stands_for_the_photos(dataset: Path, photos: Photos, tmp_path: Path) -> None:
    recognition = load_recognition()
    write_descriptors(tmp_path / "d.safetensors", photos.names, photos.descriptors, recognition)
    again = read_photos(tmp_path / "d.safetensors", recognition)
    assert again.names == photos.names
    whole, _ = leakage(dataset, photos, recognition)
    stood_for, _ = leakage(dataset, again, recognition)
    assert whole == stood_for
    with pytest.raises(PhotoError, match="another recognition network"):
        read_photos(tmp_path / "d.safetensors", load_recognition("mobileface"))


def test_a_prepared_folder_is_read_without_training_s_help(folder: Path, photos: Photos, tmp_path: Path) -> None:
    """What `prepare` writes: JPEG files, so nearly the same descriptors."""
    from training.photos.align import CANVAS_PX
    from training.photos.prepared import PhotoRows, write_prepared

    names = tuple(sorted(path.name for path in (folder / "photos").iterdir()))
    files = []
    for name in names:
        buffer = io.BytesIO()
        picture = Image.open(folder / "photos" / name).resize((CANVAS_PX, CANVAS_PX), Image.Resampling.BICUBIC)
        picture.save(buffer, "JPEG", quality=95)
        files.append(buffer.getvalue())
    points = np.load(folder / "landmarks.npy") * (CANVAS_PX / 128)
    ones = np.ones(len(names), np.float32)
    rows = PhotoRows(names, names, np.ones((len(names), 3), np.float32), points, ones, ones, ones)
    write_prepared(tmp_path, rows, files)
    found = read_photos(tmp_path, load_recognition())
    assert found.names == names
    cosines = (unit(found.descriptors, np.zeros(128)) * unit(photos.descriptors, np.zeros(128))).sum(axis=1)
    assert cosines.min() > 0.98
    from training.recognition.measure import describe, photo_names

    np.testing.assert_allclose(describe(load_recognition(), tmp_path).numpy(), found.descriptors, atol=1e-5)
    assert photo_names(tmp_path) == names


def test_photos_without_landmarks_are_no_use(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="where are the faces"):
        read_photos(folder / "photos", load_recognition())
    np.save(tmp_path / "few.npy", np.zeros((3, 68, 2)))
    with pytest.raises(PhotoError, match=r"\(3, 68, 2\) for 25 photos"):
        read_photos(folder / "photos", load_recognition(), landmarks=tmp_path / "few.npy")
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    with pytest.raises(PhotoError, match="no file of descriptors"):
        read_photos(tmp_path / "no.safetensors", load_recognition())


def test_the_command_says_who_and_fails(dataset: Path, folder: Path, tmp_path: Path) -> None:
    against = ["--against", str(folder / "photos"), "--landmarks", str(folder / "landmarks.npy")]
    arguments = [
        "leakage",
        str(dataset),
        *against,
        "--threshold",
        "0.01",
        "--sheet",
        str(tmp_path / "sheet.png"),
        "--json",
    ]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, OutputError)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["has_leaked"]
    assert found["nearest"][0]["photo"] == "005.png"
    with Image.open(tmp_path / "sheet.png") as drawn:
        assert drawn.width > 500


def test_a_dataset_without_landmarks_is_refused(tmp_path: Path, photos: Photos) -> None:
    document = spec(7, 2)
    document["output"]["annotations"] = []
    render(document, tmp_path / "out")
    with pytest.raises(DatasetError, match="landmarks68_px"):
        leakage(tmp_path / "out", photos, load_recognition())
