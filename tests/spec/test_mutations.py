"""Whatever slips into a spec is reported with the line it's on, and never as anything but a SpecError."""

from __future__ import annotations

import dataclasses
import random

import pytest

from synthface.errors import SpecError
from synthface.spec.loader import _checked, load_spec
from synthface.spec.model import Source
from synthface.spec.reader import read_text
from tests.spec.mutations import BASES, OPERATORS, Mutation, mutations

MUTATIONS = list(mutations(500))
#: Slips after which the rest of the text is still read.
_LOCAL = ("text-for-number", "nan", "infinite", "weight-zero", "bounds-swapped", "seed-list", "count-zero", "one-bound")


def load_text(text: str, mutation: Mutation):
    """As if the text stood in the base's folder, so that its tables are found."""
    source = Source(file=mutation.base.name, folder=mutation.base.parent, text=text)
    return _checked(read_text(text), source)


def test_there_are_five_hundred_of_every_kind():
    assert len(MUTATIONS) == 500
    assert {mutation.name for mutation in MUTATIONS} == set(OPERATORS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.name}-{m.base.stem}-{m.line}")
def test_a_slip_is_reported_on_its_line(mutation: Mutation):
    """The wrong line is named, in one-line messages that say what is wrong in words."""
    with pytest.raises(SpecError) as caught:
        load_text(mutation.text, mutation)
    problems = caught.value.problems
    assert mutation.line in {problem.line for problem in problems}, caught.value
    for problem in problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert "\n" not in str(problem)
        assert 10 < len(problem.message) < 900
        assert not any(word in str(problem) for word in ("Traceback", "Error(", "object at 0x", "is not valid under"))


def test_a_slip_causes_few_problems():
    """One slip is one problem, or its close kin: no avalanche that hides where to look."""
    counts = []
    for mutation in MUTATIONS[:200]:
        with pytest.raises(SpecError) as caught:
            load_text(mutation.text, mutation)
        counts.append(len(caught.value.problems))
    assert max(counts) <= 4
    assert sum(counts) / len(counts) < 1.3


@pytest.mark.parametrize("seed", range(40))
def test_many_slips_are_reported_together(seed: int):
    """Two independent slips give both lines at once, as long as the text is still YAML."""
    rng = random.Random(seed)
    first = rng.choice([mutation for mutation in MUTATIONS if mutation.name in _LOCAL])
    second = OPERATORS["unknown-section"](rng, first.text.split("\n"))
    assert second is not None
    with pytest.raises(SpecError) as caught:
        load_text(second[0], dataclasses.replace(first, text=second[0]))
    moved = first.line + (second[1] <= first.line)
    assert {moved, second[1]} <= {problem.line for problem in caught.value.problems}, caught.value


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
def test_the_originals_are_sound(base):
    """What is mutated was right before."""
    load_spec(base)
