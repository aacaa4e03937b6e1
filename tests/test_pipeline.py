"""The whole flow: the same bytes however a dataset is rendered, and nothing lost."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import synthface
from synthface.errors import OutputError, OutputMismatchError, OutputSpaceError, SpecError
from synthface.pipeline import render, samples
from tests.conftest import everything
from tests.specs_for_tests import tiny


def hashes(folder: Path) -> dict[str, str]:
    """Everything that is promised to be the same."""
    files = [
        *(folder / "data").iterdir(),
        *(folder / "labels").iterdir(),
        folder / "labels.parquet",
        folder / "manifest.json",
    ]
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_two_workers_give_the_same_bytes_as_one(dataset: Path, tmp_path: Path) -> None:
    render(everything(), tmp_path / "two", workers=2)
    assert hashes(tmp_path / "two") == hashes(dataset)


def test_parts_give_the_same_bytes_as_the_whole(dataset: Path, tmp_path: Path) -> None:
    first = render(everything(), tmp_path / "parts", part=(2, 2))
    assert not first.is_finished
    assert first.num_missing_shards == 3
    assert not (tmp_path / "parts" / "manifest.json").exists()
    assert render(everything(), tmp_path / "parts", part=(1, 2)).is_finished
    assert hashes(tmp_path / "parts") == hashes(dataset)


def test_a_finished_dataset_is_left_alone(dataset: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (dataset / "data").iterdir()}
    summary = render(everything(), dataset)
    assert (summary.num_images, summary.num_already_there) == (0, 36)
    assert {path: path.stat().st_mtime_ns for path in (dataset / "data").iterdir()} == before


def test_a_damaged_shard_is_made_anew_after_it_is_deleted(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    render(everything(), out)
    shard = out / "data" / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    assert render(everything(), out).num_images == 8
    assert hashes(out) == hashes(dataset)


def test_samples_are_what_is_written(dataset: Path) -> None:
    written = {s["key"]: s for s in synthface.open_dataset(dataset, shuffle=False)}
    for sample in samples(everything()):
        assert sample["labels"].keys() == written[sample["key"]]["labels"].keys()
        difference = np.abs(sample["image"].astype(int) - written[sample["key"]]["image"])
        assert difference.mean() < 3  # JPEG
        assert sample["depth.npy"].startswith(b"\x93NUMPY")


def test_samples_from_the_middle_are_the_same() -> None:
    whole = list(samples(tiny()))
    some = list(samples(tiny(), start=3, stop=6))
    assert [s["key"] for s in some] == [s["key"] for s in whole[3:6]]
    for a, b in zip(some, whole[3:6], strict=True):
        assert np.array_equal(a["image"], b["image"])


def test_another_spec_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    render(tiny(), tmp_path / "out")
    before = hashes(tmp_path / "out")
    with pytest.raises(OutputMismatchError, match="another spec.*another --out"):
        render(tiny(seed=8), tmp_path / "out")
    assert hashes(tmp_path / "out") == before


def test_a_wrong_spec_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        render(tiny(factors={"pose": {"yaw": {"uniform": [40, -40]}}}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_impossible_pairs_are_found_before_anything_is_rendered(tmp_path: Path) -> None:
    spec = tiny(pairs={"p": {"split": "test", "genuine": 1, "impostor": 50, "folds": 1}})
    with pytest.raises(SpecError, match="impostor"):
        render(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OutputError, match="can't be written"):
        render(tiny(), tmp_path / "out")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="out"):
        render(tiny(), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_disk_that_fills_up_loses_nothing_and_the_run_goes_on_later(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthface.shards import writer

    real, written = writer._Hashing._pass_on, 0

    def full(self: Any, chunk: bytes) -> None:
        nonlocal written
        written += len(chunk)
        if written > 900_000:
            raise OSError(28, "No space left on device")
        real(self, chunk)

    monkeypatch.setattr(writer._Hashing, "_pass_on", full)
    with pytest.raises(OutputSpaceError, match="no space left"):
        render(everything(), tmp_path / "out")
    committed = sorted((tmp_path / "out" / "markers").iterdir())
    assert 0 < len(committed) < 6
    monkeypatch.undo()
    assert render(everything(), tmp_path / "out").num_images < 36
    assert hashes(tmp_path / "out") == hashes(dataset)


def test_identities_of_an_earlier_dataset_can_be_reused(dataset: Path, tmp_path: Path) -> None:
    spec = tiny(identities={"count": 12, "from": str(dataset)}, seed=99)
    render(spec, tmp_path / "again")
    columns = ["identity", "skin_tone_ita_deg"]
    a = synthface.labels(dataset, columns=columns).drop_duplicates("identity").set_index("identity")
    b = synthface.labels(tmp_path / "again", columns=columns).drop_duplicates("identity").set_index("identity")
    assert a.equals(b)


def test_reusing_more_identities_than_there_are_says_how_many(dataset: Path, tmp_path: Path) -> None:
    from synthface.errors import DatasetError

    with pytest.raises(DatasetError, match="has 12 identities, the spec asks for 13"):
        render(tiny(identities={"count": 13, "from": str(dataset)}), tmp_path / "out")


@pytest.mark.parametrize("url", ["memory://pipeline-test"])
def test_a_dataset_can_be_written_to_and_read_from_a_url(dataset: Path, url: str) -> None:
    import fsspec

    summary = render(everything(), url)
    assert summary.is_finished
    assert synthface.verify(url).is_sound
    store = fsspec.filesystem("memory")
    for path in (dataset / "data").glob("*.tar"):
        assert store.cat_file(f"/pipeline-test/data/{path.name}") == path.read_bytes()
    assert len(list(synthface.open_dataset(url))) == 36


def test_an_s3_server_can_be_written_to_and_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        render(tiny(), "s3://bucket/set")
        assert synthface.verify("s3://bucket/set").is_sound
        assert len(list(synthface.open_dataset("s3://bucket/set", "train"))) == 6
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_dataset_is_read_over_http(dataset: Path) -> None:
    import functools
    import http.server
    import threading

    pytest.importorskip("aiohttp")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(dataset))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert len(list(synthface.open_dataset(url, "test"))) == 18
        server.shutdown()


def test_the_image_is_what_the_scene_shows(dataset: Path) -> None:
    """The eyes in the crop lie where the label says and where ArcFace's template wants them."""
    from synthface.crops import ARCFACE_TEMPLATE_112

    for sample in synthface.open_dataset(dataset, shuffle=False):
        points = np.array(sample["labels"]["five_points_px"])
        assert np.abs(points - ARCFACE_TEMPLATE_112 / 2).max() < 9
        matrix = np.array(sample["labels"]["crop_matrix"])
        assert abs(np.linalg.det(matrix[:, :2])) > 0.01
        eyes = sample["seg"][points[:2, 1].astype(int), points[:2, 0].astype(int)]
        assert (eyes > 0).all()


def test_pictures_are_decodable_at_their_size(dataset: Path) -> None:
    for sample in synthface.open_dataset(dataset, decode=False):
        assert Image.open(io.BytesIO(sample["jpg"])).size == (56, 56)
