"""Every reader of the field reads the same shards and gets what was written."""

from __future__ import annotations

import io
import json
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import synthface
from synthface.errors import DatasetError
from synthface.manifest import iterate_tar
from synthface.shards.reader import shard_urls


def raw(dataset: Path) -> dict[str, dict[str, bytes]]:
    """By key, straight from the tars."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((dataset / "data").glob("*.tar")):
        with path.open("rb") as file:
            found.update(iterate_tar(file))
    return found


def test_open_dataset_gives_every_sample_once_as_written(dataset: Path) -> None:
    written = raw(dataset)
    seen = {sample["key"]: sample for sample in synthface.open_dataset(dataset)}
    assert seen.keys() == written.keys()
    for key, sample in seen.items():
        assert sample["labels"] == json.loads(written[key]["json"])
        assert np.array_equal(sample["image"], np.asarray(Image.open(io.BytesIO(written[key]["jpg"]))))
        assert sample["identity"] == sample["labels"]["identity"]
        assert sample["depth"].dtype == np.float32
        assert sample["seg"].shape == sample["mask"].shape == sample["depth"].shape == (56, 56)


def test_a_split_is_only_that_split(dataset: Path) -> None:
    assert {s["labels"]["split"] for s in synthface.open_dataset(dataset, "test")} == {"test"}
    with pytest.raises(DatasetError, match=r"no split 'val'; allowed: train, test"):
        synthface.open_dataset(dataset, "val")


def test_each_epoch_has_its_own_order_and_can_be_come_back_to(dataset: Path) -> None:
    pipeline = synthface.open_dataset(dataset, seed=3)
    first, second = [s["key"] for s in pipeline], [s["key"] for s in pipeline]
    assert sorted(first) == sorted(second)
    assert first != second
    pipeline.set_epoch(1)
    assert [s["key"] for s in pipeline] == second
    assert [s["key"] for s in synthface.open_dataset(dataset, shuffle=False)] == sorted(first)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [2, 9])
def test_dataloader_workers_share_the_samples_and_reshuffle_each_epoch(dataset: Path, workers: int) -> None:
    from torch.utils.data import DataLoader

    loader = DataLoader(synthface.open_dataset(dataset, transform=key_of), batch_size=None, num_workers=workers)
    first, second = list(loader), list(loader)
    assert sorted(first) == sorted(second) == sorted(raw(dataset))
    assert first != second


def key_of(sample: dict[str, object]) -> object:
    return sample["key"]


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # webdataset's
def test_plain_webdataset_reads_it(dataset: Path) -> None:
    import webdataset as wds

    pipeline = wds.WebDataset(shard_urls(dataset), shardshuffle=False, empty_check=False).decode("pil")
    written = raw(dataset)
    count = 0
    for sample in pipeline:
        assert sample["json"] == json.loads(written[sample["__key__"]]["json"])
        assert sample["jpg"].size == (56, 56)
        count += 1
    assert count == len(written)


def test_plain_tarfile_reads_it(dataset: Path) -> None:
    path = Path(shard_urls(dataset)[0])
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    assert {m.mtime for m in members} == {0}
    assert {(m.uname, m.mode) for m in members} == {("synthface", 0o644)}
    assert all(m.name.split(".", 1)[0].isdigit() for m in members)


def test_wids_index_finds_its_shards(dataset: Path) -> None:
    wids = pytest.importorskip("wids")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        index = wids.ShardListDataset(str(dataset / "data" / "test.wids.json"), cache_dir=None)
        assert len(index) == 18


def test_hugging_face_datasets_reads_the_folder_by_its_card(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = datasets.load_dataset(str(dataset), cache_dir=str(tmp_path))
        written = raw(dataset)
        rows = {row["__key__"]: row for split in loaded.values() for row in split}
    assert set(loaded) == {"train", "test"}
    assert rows.keys() == written.keys()
    for key, row in rows.items():
        labels = json.loads(written[key]["json"])
        assert row["json"] == labels
        assert np.array_equal(np.asarray(row["jpg"]), np.asarray(Image.open(io.BytesIO(written[key]["jpg"]))))


def test_labels_is_a_frame_of_everything(dataset: Path) -> None:
    frame = synthface.labels(dataset)
    written = raw(dataset)
    assert frame.key.tolist() == sorted(written)
    row = frame.iloc[5]
    expected = json.loads(written[row.key]["json"])
    assert np.float32(expected["yaw_deg"]) == row.yaw_deg
    assert np.array_equal(np.array(expected["landmarks68_px"], np.float32), row.landmarks68_px)
    assert row["sh"].shape == (3, 9)
    test = synthface.labels(dataset, split="test", columns=["yaw_deg", "identity"])
    assert list(test.columns) == ["yaw_deg", "identity"]
    assert len(test) == 18
    with pytest.raises(DatasetError, match="no label 'yaw'"):
        synthface.labels(dataset, columns=["yaw"])
