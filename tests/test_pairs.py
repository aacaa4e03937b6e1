"""Verification pair lists."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from synthface.errors import SpecError
from synthface.pairs import pair_lists, pairs_of
from synthface.plan import Plan
from tests.specs_for_tests import plan_of


def plan_with(order: str = "identity", **pairs: object) -> Plan:
    return plan_of(
        identities={"count": 60},
        conditions={"front": {}, "side": {"pose": {"yaw": 40}}},
        images_per_identity={"front": 3, "side": 2},
        splits={"train": 0.5, "test": 0.5},
        pairs={"list": {"split": "test", "genuine": 100, "impostor": 100, "folds": 5, **pairs}},
        output={"image": {"size": 32}, "shards": {"samples": 40, "order": order}},
    )


@pytest.mark.parametrize("order", ["identity", "shuffled"])
@pytest.mark.parametrize("across", [[], ["front", "side"]])
def test_pairs_are_what_they_say(order: str, across: list[str]) -> None:
    plan = plan_with(order, **({"across": across} if across else {}))
    rows, same, folds = pairs_of(plan, "list", plan.spec.pairs["list"])
    a, b = plan.rows(rows[:, 0]), plan.rows(rows[:, 1])
    assert (same == (a.identity == b.identity)).all()
    assert same.sum() == 100
    assert len({tuple(sorted(pair)) for pair in rows.tolist()}) == 200
    assert {plan.splits[n].name for n in np.concatenate([a.split, b.split])} == {"test"}
    if across:
        assert set(a.stratum) == {0}
        assert set(b.stratum) == {1}
    assert np.bincount(folds).tolist() == [40] * 5
    seen = [set(a.identity[folds == fold]) | set(b.identity[folds == fold]) for fold in range(5)]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_all_pairs_there_are_can_be_had() -> None:
    plan = plan_with(genuine=30 * 10, impostor=5)
    rows, same, _ = pairs_of(plan, "list", plan.spec.pairs["list"])
    assert same.sum() == 300
    assert len({tuple(pair) for pair in rows.tolist()}) == 305


def test_asking_for_more_says_how_many_there_are() -> None:
    with pytest.raises(SpecError, match="at most 300"):
        plan = plan_with(genuine=301, impostor=5)
        pairs_of(plan, "list", plan.spec.pairs["list"])


def test_the_csv_names_samples_and_is_the_same_each_time() -> None:
    plan = plan_with()
    ((name, content),) = pair_lists(plan)
    assert (name, content) == next(iter(pair_lists(plan_with())))
    table = pd.read_csv(io.BytesIO(content), dtype={"key_a": str, "key_b": str})
    assert list(table.columns) == ["key_a", "key_b", "same", "fold", "condition_a", "condition_b"]
    assert table.key_a.str.len().eq(9).all()
