"""Pairs come out of datasets, LFW's layout and .bin files as they were put in."""

from __future__ import annotations

import csv
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import synthface
from recipes.recognition.pairs import PairSet, from_bin, from_dataset, from_lfw, pair_lists
from synthface.errors import DatasetError


def pictures(pairs: PairSet) -> dict[int, np.ndarray]:
    return dict(pairs.pictures())


def test_a_datasets_list_has_its_pictures_flags_folds_and_labels(faces: Path) -> None:
    assert pair_lists(faces) == ["any", "turned"]
    pairs = from_dataset(faces, "turned")
    rows = list(csv.DictReader(io.StringIO((faces / "pairs" / "turned.csv").read_text())))
    by_key = {s["key"]: s for s in synthface.open_dataset(faces)}
    found = pictures(pairs)
    assert len(found) == pairs.num_pictures
    for n, row in enumerate(rows):
        for key, place in ((row["key_a"], pairs.a[n]), (row["key_b"], pairs.b[n])):
            assert np.array_equal(found[place], by_key[key]["image"])
            assert pairs.labels["yaw_deg"][place] == pytest.approx(by_key[key]["labels"]["yaw_deg"], abs=1e-5)
        assert pairs.same[n] == (by_key[row["key_a"]]["identity"] == by_key[row["key_b"]]["identity"])
    assert set(pairs.labels) == {"yaw_deg", "light_azimuth_deg", "skin_tone_ita_deg"}
    assert np.abs(pairs.labels["yaw_deg"][pairs.b]).min() > 29
    with pytest.raises(DatasetError, match="no pair list 'none'"):
        from_dataset(faces, "none")


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    """Three people with two flat pictures each."""
    for person, level in (("Ann_Lee", 40), ("Bo", 80), ("Cy_X", 120)):
        for number in (1, 2):
            path = tmp_path / person / f"{person}_{number:04d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (level, number, 0)).save(path)
    return tmp_path


def test_lfws_layout_is_read_with_its_folds(lfw: Path) -> None:
    file = lfw / "pairs.txt"
    file.write_text("2\t1\nAnn_Lee\t1\t2\nBo\t1\tCy_X\t2\nCy_X\t2\t1\nAnn_Lee\t2\tBo\t2\n")
    pairs = from_lfw(lfw, file)
    found = pictures(pairs)
    seen = [(tuple(found[a][0, 0, :2]), tuple(found[b][0, 0, :2])) for a, b in zip(pairs.a, pairs.b, strict=True)]
    assert seen == [((40, 1), (40, 2)), ((80, 1), (120, 2)), ((120, 2), (120, 1)), ((40, 2), (80, 2))]
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.folds.tolist() == [0, 0, 1, 1]
    assert pairs.num_pictures == 6


def test_lfws_development_lists_are_one_fold(lfw: Path) -> None:
    file = lfw / "pairsDevTest.txt"
    file.write_text("1\nAnn_Lee\t1\t2\nBo\t1\tCy_X\t2\n")
    assert from_lfw(lfw, file).folds.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\t1\nBo\t1\t2\nBo one Bo 2\n", r"pairs.txt:3: found 'Bo one Bo 2'; allowed: `name n1 n2`"),
        ("1\t1\nBo\t1\t2\nBo\t1\tCy_X\t7\n", r"pairs.txt:3: no picture .*Cy_X_0007"),
        ("2\t1\nBo\t1\t2\nBo\t1\tCy_X\t1\n", r"2 pairs, but its first line promises 2 folds of 2 × 1"),
    ],
)
def test_a_wrong_line_is_named(lfw: Path, text: str, said: str) -> None:
    (lfw / "pairs.txt").write_text(text)
    with pytest.raises(DatasetError, match=said):
        from_lfw(lfw, lfw / "pairs.txt")


def encoded(level: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (level,) * 3).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_a_bin_file_is_couples_in_ten_runs(tmp_path: Path) -> None:
    path = tmp_path / "cfp_fp.bin"
    path.write_bytes(pickle.dumps(([encoded(n) for n in range(40)], [n % 3 == 0 for n in range(20)])))
    pairs = from_bin(path)
    assert pairs.name == "cfp_fp"
    assert pairs.folds.tolist() == [n // 2 for n in range(20)]
    found = pictures(pairs)
    assert all(abs(int(found[n].mean()) - n) <= 1 for n in range(40))
    assert (pairs.a + 1 == pairs.b).all()


def test_a_picture_that_isnt_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(pickle.dumps(([encoded(1), b"no picture"], [True])))
    with pytest.raises(DatasetError, match=r"bad.bin: picture 1: not a picture"):
        pictures(from_bin(path))
