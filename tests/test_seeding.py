"""Keyed streams: the same numbers everywhere, and none shared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthface.seeding import Permutation, bits, normals, stream_key, stream_uniforms, uniforms

GOLDEN = Path(__file__).parent / "golden" / "streams.json"


@pytest.mark.parametrize("index", [0, 1, 12345678901])
def test_philox_is_bit_equal_to_numpys(index: int) -> None:
    low, high = stream_key(7, "a")
    # NumPy counts up before it generates.
    theirs = np.random.Philox(key=low | high << 64, counter=((index << 64) - 1) % (1 << 256)).random_raw(10)
    np.testing.assert_array_equal(bits(7, "a", np.array([index]), 10)[0], theirs)


def test_golden_values_are_pinned() -> None:
    for case in json.loads(GOLDEN.read_text()):
        found = bits(case["seed"], case["stream"], np.array(case["index"]), 3)
        assert [[f"{word:016x}" for word in row] for row in found.tolist()] == case["words"]


def test_an_index_gives_the_same_numbers_in_any_company() -> None:
    together = uniforms(1, "s", np.arange(100), 5)
    np.testing.assert_array_equal(uniforms(1, "s", np.array([42]), 5)[0], together[42])
    np.testing.assert_array_equal(stream_uniforms(1, ("r", "s", "t"), np.arange(100))[:, 1], together[:, 0])


def test_streams_and_seeds_are_unrelated() -> None:
    a, b, c = uniforms(1, "a", np.arange(20000)), uniforms(1, "b", np.arange(20000)), uniforms(2, "a", np.arange(20000))
    for other in (b, c):
        assert abs(np.corrcoef(a[:, 0], other[:, 0])[0, 1]) < 0.03


def test_uniforms_are_uniform_and_never_0_or_1() -> None:
    u = uniforms(3, "u", np.arange(50000))[:, 0]
    assert 0 < u.min() < u.max() < 1
    counts = np.histogram(u, bins=50, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 95  # χ² with 49 degrees of freedom: p ≈ 1e-4


def test_normals_are_standard() -> None:
    z = normals(3, "z", np.arange(20000), 3)
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02


@given(st.integers(1, 3000), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_permutation_hits_every_number_once_and_can_be_undone(size: int, seed: int) -> None:
    order = Permutation(seed, "order", size)
    numbers = order(np.arange(size))
    np.testing.assert_array_equal(np.sort(numbers), np.arange(size))
    np.testing.assert_array_equal(order.inverse(numbers), np.arange(size))


def test_a_permutation_mixes() -> None:
    numbers = Permutation(0, "order", 10000)(np.arange(10000))
    assert abs(np.corrcoef(np.arange(10000), numbers)[0, 1]) < 0.05
