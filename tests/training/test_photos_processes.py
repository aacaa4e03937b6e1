"""Several processes give what one gives; killed ones lose nothing that was done, and dead workers are told of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from synthface.errors import MissingExtraError, PhotoError
from tests.training.photo_scenes import scene
from training.photos.detector import load_detector
from training.photos.prepare import Source, prepare
from training.photos.prepared import PreparedPhotos
from training.photos.quality import PrepareRecipe

ROOT = Path(__file__).parents[2]
NUM_PHOTOS = 170


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Photos with their landmarks: no networks needed."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "in").mkdir()
    rows = []
    for n in range(NUM_PHOTOS):
        picture, landmarks = scene((400, 400), [(n % 3, 300, n % 20, n % 13)], seed=n)
        picture.save(folder / "in" / f"{n:04d}.jpg", quality=95)
        rows.append(landmarks[0])
    np.save(folder / "landmarks.npy", np.array(rows))
    return Source(folder / "in", None, folder / "landmarks.npy")


def _files(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("photos.safetensors", "photos.parquet", "rejected.csv")}


def test_processes_and_kills_leave_no_trace(photos: Source, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "alone", PrepareRecipe(), workers=1)
    assert len(PreparedPhotos(tmp_path / "alone")) == NUM_PHOTOS
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "training", "prepare", str(photos.folder), str(out), "--workers", "2"]
    command += ["--landmarks", str(photos.landmarks)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 60
        while not list(out.glob("parts/*.safetensors")) and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(run.pid, signal.SIGKILL)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert _files(out) == _files(tmp_path / "alone")


@pytest.mark.parametrize(("name", "message"), [("Dying", "a worker died"), ("Failing", "the detector failed on it")])
def test_what_goes_wrong_in_a_worker_is_told(photos: Source, tmp_path: Path, name: str, message: str) -> None:
    source = Source(photos.folder, f"tests.training.photo_scenes:{name}")
    with pytest.raises(PhotoError, match=message):
        prepare(source, tmp_path / "out", PrepareRecipe(), workers=2)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingExtraError, match=r"synthface\[photos\]"):
        load_detector("facemesh")


@pytest.mark.parametrize("name", ["face-mesh", "no.such.module:Kind", "training.photos.facemesh:Nothing"])
def test_unknown_detectors_are_refused(name: str) -> None:
    with pytest.raises(PhotoError, match="module:class"):
        load_detector(name)
