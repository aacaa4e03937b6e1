"""InsightFace's .bin files are read in every form that NumPy and pickle have given them, and run nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes.recognition.insightface import read_bin
from synthface.errors import DatasetError

PICTURES = [bytes([n, 255 - n, 0, 200, 10]) for n in range(6)]
SAME = [True, False, True]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("form", ["bytes", "arrays", "array of flags", "numpy flags", "numbers"])
def test_every_form_of_the_file_is_read(tmp_path: Path, protocol: int, form: str) -> None:
    pictures: Any = PICTURES
    same: Any = SAME
    if form == "arrays":
        pictures = [np.frombuffer(p, np.uint8) for p in PICTURES]
    elif form == "array of flags":
        same = np.array(SAME)
    elif form == "numpy flags":
        same = [np.bool_(s) for s in SAME]
    elif form == "numbers":
        same = [int(s) for s in SAME]
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps((pictures, same), protocol=protocol))
    found, flags = read_bin(path)
    assert found == PICTURES
    assert flags.tolist() == SAME


def test_a_file_from_python_2_is_read(tmp_path: Path) -> None:
    """As Python 2 wrote it: str instead of bytes, old globals."""
    path = tmp_path / "agedb_30.bin"
    python_2 = b"(lp0\nS'\\xff\\xd8'\np1\naS'\\xff\\xd9'\np2\na(lp3\nI01\na\x86."
    path.write_bytes(b"\x80\x02" + python_2.replace(b"a(lp3", b"a(lp3"))
    found, flags = read_bin(path)
    assert found == [b"\xff\xd8", b"\xff\xd9"]
    assert flags.tolist() == [True]


class _Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_Runs(os.mkdir, "made"), r"it asks for \w+\.mkdir"),
        (([_Runs(eval, "1")], [True]), r"it asks for builtins\.eval"),
        (_Runs(getattr, "a", "upper"), r"it asks for builtins\.getattr"),
        (_Runs(np.load, "x.npy"), r"it asks for numpy\.load|it asks for numpy\.lib"),
        (_Runs(bytes, 10**12), "bytes\\(\\) with arguments"),
        ((PICTURES, [2, 0, 1]), "found 2 instead of a flag"),
        (([["nested"]], [True]), "found list instead of a picture's bytes"),
        (([np.zeros(2, object)] * 2, [True]), "an array of .*O8?.*allowed"),
        ({"a": 1}, "not a .bin file"),
        ((PICTURES, [True]), "6 pictures for 1 pairs"),
    ],
)
def test_anything_else_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DatasetError, match=said):
        read_bin(path)
    assert not (tmp_path / "made").exists()


def test_a_file_cut_short_or_missing_says_so(tmp_path: Path) -> None:
    whole = pickle.dumps((PICTURES, SAME))
    path = tmp_path / "cut.bin"
    for length in range(0, len(whole) - 1, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match="not a .bin file"):
            read_bin(path)
    with pytest.raises(DatasetError, match="can't be read"):
        read_bin(tmp_path / "none.bin")


def test_a_file_cant_change_what_it_calls(tmp_path: Path) -> None:
    (tmp_path / "changes.bin").write_bytes(b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.")
    with pytest.raises(DatasetError, match="it sets attributes of a function"):
        read_bin(tmp_path / "changes.bin")


def test_an_array_whose_shape_lies_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps(([np.zeros(7, np.uint8)] * 2, [True]), protocol=2)
    assert data.count(b"K\x07\x85") == 1
    (tmp_path / "lies.bin").write_bytes(data.replace(b"K\x07\x85", b"K\x63\x85"))
    with pytest.raises(DatasetError, match="7 elements"):
        read_bin(tmp_path / "lies.bin")
