"""Rows by arithmetic: quotas, splits, shards, order."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthface.plan import quotas
from tests.specs_for_tests import plan_of


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5), st.integers(0, 10_000))
def test_quotas_add_up_and_are_nearly_proportional(weights: list[float], total: int) -> None:
    shares = {f"s{n}": weight for n, weight in enumerate(weights)}
    counts = quotas(shares, total)
    assert sum(counts.values()) == total
    for name, share in shares.items():
        assert abs(counts[name] - share / sum(weights) * total) < 1 + 1e-6


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 50), st.sampled_from(["identity", "shuffled"]))
@settings(max_examples=60, deadline=None)
def test_every_image_is_in_exactly_one_shard_and_no_identity_in_two_splits(
    identities: int, images: int, samples: int, order: str
) -> None:
    output = {"image": {"size": 32}, "shards": {"samples": samples, "order": order}}
    splits = {"train": 0.6, "val": 0.4} if identities > 1 else {"train": 1.0}
    plan = plan_of(identities={"count": identities}, images_per_identity=images, splits=splits, output=output)
    shards = list(plan.shards)
    assert [shards[0].start, *(s.stop for s in shards)] == [0, *(s.start for s in shards[1:]), plan.num_images]
    rows = plan.rows(np.arange(plan.num_images))
    assert len({*zip(rows.identity.tolist(), rows.image.tolist(), strict=True)}) == plan.num_images
    for shard in shards:
        inside = plan.rows(np.arange(shard.start, shard.stop))
        assert {plan.splits[n].name for n in inside.split} == {shard.split}
        is_last = shard.stop in {split.stop for split in plan.splits}
        assert is_last or shard.count % 4 == 0
    seen = [set(rows.identity[rows.split == n]) for n in range(len(plan.splits))]
    assert sum(map(len, seen)) == len(set.union(*seen)) == identities


def test_shuffled_rows_are_the_same_images_in_another_order() -> None:
    plain = plan_of(identities={"count": 30})
    output = {"image": {"size": 32}, "shards": {"samples": 8, "order": "shuffled"}}
    shuffled = plan_of(identities={"count": 30}, output=output)
    logical = np.arange(60)
    there = shuffled.row_of(logical)
    assert not np.array_equal(there, logical)
    np.testing.assert_array_equal(shuffled.rows(there).key, plain.rows(logical).key)


def test_ten_million_images_are_planned_in_constant_memory() -> None:
    plan_of()
    tracemalloc.start()
    plan = plan_of(identities={"count": 1_000_000}, images_per_identity=10, output={"shards": {"samples": 10_000}})
    last = plan.shards[len(plan.shards) - 1]
    rows = plan.rows(np.array([0, 5_000_000, plan.num_images - 1]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (plan.num_images, last.stop) == (10_000_000, 10_000_000)
    assert rows.identity.tolist() == [0, 500_000, 999_999]
    assert peak < 20e6


def test_a_shard_number_out_of_range_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        plan_of().shards[99]
