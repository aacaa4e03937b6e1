"""Labels and pictures as bytes."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthface.columns import Column, Origin
from synthface.shards.encode import encode_jpeg, encode_npy, encode_png, label_json

COLUMNS = (
    Column("yaw_deg", "float32", Origin.REQUESTED, ""),
    Column("points", "float32", Origin.RENDERED, "", (2, 2)),
    Column("key", "string", Origin.PLANNED, ""),
    Column("seen", "bool", Origin.RENDERED, "", (3,)),
    Column("identity", "int64", Origin.PLANNED, ""),
)


def one(value: float, key: str = "a") -> dict[str, np.ndarray]:
    return {
        "yaw_deg": np.array([value], np.float32),
        "points": np.full((1, 2, 2), value, np.float32),
        "key": np.array([key]),
        "seen": np.array([[True, False, True]]),
        "identity": np.array([2**40]),
    }


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_come_back_to_the_bit_and_stay_floats(value: float) -> None:
    (text,) = label_json(COLUMNS, one(value))
    labels = json.loads(text)
    assert isinstance(labels["yaw_deg"], float)
    assert np.float32(labels["yaw_deg"]) == np.float32(value)
    assert np.array_equal(np.array(labels["points"], np.float32), np.full((2, 2), value, np.float32))


@given(st.text(max_size=20))
def test_any_text_is_json(text: str) -> None:
    labels = json.loads(label_json(COLUMNS, {**one(0), "key": np.array([text], object)})[0])
    assert labels["key"] == text
    assert labels["seen"] == [True, False, True]
    assert labels["identity"] == 2**40


def test_keys_are_sorted_and_none_is_left_out() -> None:
    labels = json.loads(label_json(COLUMNS, one(1))[0])
    assert list(labels) == sorted(column.name for column in COLUMNS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_label_that_json_cannot_say_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="yaw_deg|points"):
        label_json(COLUMNS, one(value))


def test_png_and_npy_lose_nothing_and_jpeg_little() -> None:
    y, x = np.mgrid[:40, :40]
    image = np.stack([x * 6, y * 6, x * 3 + y * 3], axis=-1).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(image)))), image)
    assert np.array_equal(np.load(io.BytesIO(encode_npy(image)), allow_pickle=False), image)
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(image))), float)
    assert np.abs(decoded - image).mean() < 2
