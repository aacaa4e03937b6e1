"""What is trained on is what was written, for every reader; and a stream goes on anywhere as it would have gone on."""

from __future__ import annotations

import io
import itertools
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recipes.common.pictures import NO_CHANGE
from recipes.common.stream import PICTURE, Batches, Place
from recipes.recognition.training import PrepareFace
from synthface.errors import DatasetError
from synthface.shards.reader import shard_urls

IDENTITIES = np.arange(9)
BEGINNING = Place()


class WithKey:
    """A face's picture and identity, with its key."""

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> tuple[Any, ...]:
        picture, identity = PrepareFace(32, NO_CHANGE, IDENTITIES)(sample, rng)
        return int(sample["key"]), picture, identity, int(rng.integers(2**31))


def stream(
    dataset: str | Path, *, workers: int = 0, start: Place = BEGINNING, batch: int = 4, split: str | None = "train"
) -> Batches:
    files = (*PICTURE, "cls")
    return Batches(dataset, split, WithKey(), files=files, batch=batch, workers=workers, seed=5, buffer=6, start=start)


def trained_on(dataset: Path | str) -> dict[int, tuple[np.ndarray, int]]:
    """Key to picture and identity of one epoch."""
    found = {}
    for key, picture, identity, _ in (batch for batch in itertools.islice(stream(dataset), 6)):
        for n in range(len(key)):
            found[int(key[n])] = (picture[n].numpy().transpose(1, 2, 0), int(identity[n]))
    return found


def by_tarfile(dataset: Path) -> dict[int, tuple[np.ndarray, int]]:
    found: dict[int, dict[str, bytes]] = {}
    for url in shard_urls(dataset, "train"):
        with tarfile.open(url) as archive:
            for member in archive:
                key, _, extension = member.name.partition(".")
                file = archive.extractfile(member)
                assert file is not None
                found.setdefault(int(key), {})[extension] = file.read()
    return {key: (_decoded(files["jpg"]), int(files["cls"])) for key, files in found.items()}


def by_webdataset(dataset: Path) -> dict[int, tuple[np.ndarray, int]]:
    import webdataset as wds

    pipeline = wds.WebDataset(shard_urls(dataset, "train"), shardshuffle=False, empty_check=False).decode("rgb8")
    return {int(sample["__key__"]): (sample["jpg"], sample["cls"]) for sample in pipeline}


def by_hugging_face(dataset: Path) -> dict[int, tuple[np.ndarray, int]]:
    datasets = pytest.importorskip("datasets")
    files = {"train": shard_urls(dataset, "train")}
    loaded = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
    return {int(row["__key__"]): (np.asarray(row["jpg"].convert("RGB")), int(row["cls"])) for row in loaded}


def _decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("reader", [by_tarfile, by_webdataset, by_hugging_face])
def test_what_is_trained_on_is_what_every_reader_reads(
    faces: Path, monkeypatch: pytest.MonkeyPatch, reader: Any
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = reader(faces)
    trained = trained_on(faces)
    assert trained.keys() == written.keys()
    assert len(written) == 24
    for key, (picture, identity) in trained.items():
        assert np.array_equal(picture, written[key][0]), key
        assert identity == written[key][1], key


def test_shards_at_a_url_give_the_same_batches(faces: Path) -> None:
    local, remote = trained_on(faces), trained_on(f"file://{faces}")
    assert local.keys() == remote.keys()
    assert all(np.array_equal(local[key][0], remote[key][0]) for key in local)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "taken"), [(0, 2), (0, 8), (2, 3), (2, 9)])
def test_a_stream_begun_in_the_middle_goes_on_as_it_would_have(faces: Path, workers: int, taken: int) -> None:
    whole = stream(faces, workers=workers)
    rows = iter(whole)
    for _ in range(taken):
        next(rows)
    place = whole.place
    rest = [next(rows) for _ in range(3)]
    resumed = list(itertools.islice(stream(faces, workers=workers, start=place), 3))
    for a, b in zip(rest, resumed, strict=True):
        assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert place.epoch == (0 if taken < 6 else 1)


def test_each_epoch_has_every_sample_once_in_its_own_order_with_its_own_randomness(faces: Path) -> None:
    rows = list(itertools.islice(stream(faces), 12))
    first, second = ([int(k) for batch in part for k in batch[0]] for part in (rows[:6], rows[6:]))
    assert len(set(first)) == len(first) == 24
    assert sorted(first) == sorted(second)
    assert first != second
    drawn = [{int(k): int(r) for b in part for k, r in zip(b[0], b[3], strict=True)} for part in (rows[:6], rows[6:])]
    assert all(drawn[0][key] != drawn[1][key] for key in drawn[0])
    others = {
        int(k): int(r) for b in itertools.islice(stream(faces, batch=3), 8) for k, r in zip(b[0], b[3], strict=True)
    }
    assert others == drawn[0], "a sample's randomness doesn't depend on its batch"


def test_too_few_samples_for_a_batch_is_an_error(faces: Path) -> None:
    with pytest.raises(DatasetError, match="not one full batch of 40"):
        next(iter(stream(faces, batch=40)))
    with pytest.raises(DatasetError, match="no split 'val'"):
        stream(faces, split="val")
