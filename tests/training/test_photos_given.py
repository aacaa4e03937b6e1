"""Landmarks that users bring are matched to their photos, in every published layout, or refused with the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthface.errors import PhotoError
from training.photos.given import GivenLandmarks

SOURCES = ("a/one.jpg", "a/two.png", "b/two.png", "three.jpg")
POINTS = np.arange(40, dtype=np.float64).reshape(4, 5, 2)


def _line(name: str, points: np.ndarray, between: str = " ") -> str:
    return between.join([name, *(f"{v:g}" for v in points.reshape(-1))])


def _given(path: Path) -> GivenLandmarks:
    return GivenLandmarks(path, SOURCES)


@pytest.mark.parametrize("count", [468, 68, 5])
def test_arrays_go_by_the_sorted_order(tmp_path: Path, count: int) -> None:
    array = np.random.default_rng(0).normal(size=(4, count, 3)).astype(np.float32)
    array[2] = np.nan
    np.save(tmp_path / "l.npy", array)
    given = _given(tmp_path / "l.npy")
    assert given.num_landmarks == count
    np.testing.assert_array_equal(given.of("three.jpg"), array[3, :, :2])
    assert given.of("b/two.png") is None


@pytest.mark.parametrize(
    ("shape", "message"), [((3, 5, 2), "3 rows for 4 photos"), ((4, 7, 2), "shape"), ((4,), "shape")]
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    np.save(tmp_path / "l.npy", np.zeros(shape))
    with pytest.raises(PhotoError, match=message):
        _given(tmp_path / "l.npy")


@pytest.mark.parametrize("header", ["", "2\nlefteye_x lefteye_y righteye_x righteye_y …\n", "name,x1,y1\n"])
@pytest.mark.parametrize("between", [" ", "  ", ",", "\t"])
def test_lists_of_five_points_go_by_name(tmp_path: Path, header: str, between: str) -> None:
    lines = [
        _line("three.jpg", POINTS[0], between),
        _line("a/two.png", POINTS[1], between),
        _line("one", POINTS[2], between),
    ]
    (tmp_path / "l.txt").write_text(header + "\n".join(lines) + "\n")
    given = _given(tmp_path / "l.txt")
    np.testing.assert_array_equal(given.of("three.jpg"), POINTS[0])
    np.testing.assert_array_equal(given.of("a/two.png"), POINTS[1])
    np.testing.assert_array_equal(given.of("a/one.jpg"), POINTS[2])
    assert given.of("b/two.png") is None
    assert len(given) == 3


def test_names_that_fit_two_photos_fit_none(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(_line("two.png", POINTS[0]) + "\n" + _line("three.jpg", POINTS[1]))
    assert len(_given(tmp_path / "l.txt")) == 1


def test_faulty_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "l.txt"
    path.write_text("\n".join([_line("one", POINTS[0]), _line("three", POINTS[1]), "a/two.png 1 2 3"]))
    with pytest.raises(PhotoError, match=r"l\.txt:3: found 3 values"):
        _given(path)
    path.write_text("three.jpg 1 2 3")
    with pytest.raises(PhotoError, match=r"l\.txt:1: found 3 values"):
        _given(path)
    path.write_text("\n".join([_line("one", POINTS[0]), _line("a/one.jpg", POINTS[1])]))
    with pytest.raises(PhotoError, match=r"two lines for a/one\.jpg"):
        _given(path)
    path.write_text(_line("someone else", POINTS[0])[8:])
    with pytest.raises(PhotoError, match="no landmarks for any of the 4 photos"):
        _given(path)


def test_folders_hold_a_text_file_per_photo(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, points in (
        ("a/two.txt", POINTS[0]),
        ("three.txt", POINTS[1]),
        ("one.txt", POINTS[2]),
        ("two.txt", POINTS[3]),
    ):
        (tmp_path / name).write_text("\n".join(f"{x:.1f}\t{y:.1f}" for x, y in points) + "\n")
    given = _given(tmp_path)
    np.testing.assert_array_equal(given.of("a/two.png"), POINTS[0])
    np.testing.assert_array_equal(given.of("three.jpg"), POINTS[1])
    np.testing.assert_array_equal(given.of("a/one.jpg"), POINTS[2])
    assert given.of("b/two.png") is None  # two.txt could be of either
    (tmp_path / "three.txt").write_text("1 2\n3 4\n")
    with pytest.raises(PhotoError, match=r"three\.txt: not 5 lines"):
        _given(tmp_path)
