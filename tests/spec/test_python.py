"""Whatever YAML can say, Python can say: the same checks, the same words, and back again."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthface.errors import SpecError
from synthface.spec import Spec, load_spec
from synthface.spec.distributions import Constant, Normal, Uniform
from synthface.spec.model import (
    Condition,
    Design,
    Factors,
    Identities,
    Image,
    Leaf,
    Light,
    LightRig,
    Named,
    Output,
    Pose,
    Post,
)
from synthface.spec.names import ARKIT_ACTIONS
from tests.spec.mutations import BASES

SOUND = {"version": 1, "name": "t", "seed": 0, "identities": {"count": 4}, "images_per_identity": 2}

numbers = st.floats(-30, 30).map(lambda x: round(x, 4)) | st.integers(-30, 30)
positive = st.floats(0.01, 5).map(lambda x: round(x, 4)) | st.integers(1, 5)
weights = st.integers(1, 9) | st.sampled_from([0.5, 2.25])
pers = st.sampled_from([{}, {"per": "identity"}, {"per": "dataset"}, {"per": "image"}])


def ordered(low: float, high: float):
    return st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1]).map(list)


plain = st.one_of(
    numbers.map(lambda value: {"constant": value}),
    ordered(-30, 30).map(lambda pair: {"uniform": pair}),
    st.tuples(numbers, positive).map(lambda p: {"normal": {"mean": p[0], "std": p[1], "low": p[0] - p[1], "high": 90}}),
    st.tuples(positive, positive).map(lambda p: {"beta": {"a": p[0], "b": p[1], "low": -3}}),
    st.tuples(numbers, positive).map(lambda p: {"von_mises": list(p)}),
    st.lists(numbers, min_size=1, max_size=4).map(lambda values: {"choice": values}),
    st.lists(st.tuples(numbers, weights), min_size=1, max_size=4).map(
        lambda pairs: {"choice": {"values": [v for v, _ in pairs], "weights": [w for _, w in pairs]}}
    ),
    st.lists(st.integers(-30, 30), min_size=1, max_size=4, unique=True).map(lambda values: {"grid": values}),
)
mixed = st.lists(st.tuples(weights, plain), min_size=1, max_size=3).map(
    lambda parts: {"mixture": [{"weight": w, **d} for w, d in parts]}
)
angles = numbers | st.tuples(plain | mixed, pers).map(lambda pair: {**pair[0], **pair[1]})
strengths = st.one_of(
    st.sampled_from([0, 0.25, 1]), st.just({"uniform": [0.1, 0.9]}), st.just({"beta": [2, 3], "per": "identity"})
)
named = st.dictionaries(st.sampled_from(ARKIT_ACTIONS), strengths, min_size=1, max_size=4).map(lambda v: {"named": v})
simple = st.one_of(st.just({"neutral": True}), st.just({"prior": {"scale": 0.5}}), named)
expressions = st.one_of(
    st.just("neutral"),
    simple,
    st.lists(st.tuples(weights, simple), min_size=1, max_size=3).map(
        lambda parts: {"mixture": [{"weight": w, **e} for w, e in parts], "per": "identity"}
    ),
)
lights = st.fixed_dictionaries(
    {"azimuth": angles, "elevation": numbers, "intensity": st.just({"uniform": [0.1, 1]})},
    optional={"colour_temperature": st.just({"uniform": [3000, 7000]})},
)
lightings = st.one_of(
    st.just("prior"),
    st.fixed_dictionaries(
        {},
        optional={"ambient": strengths, "lights": st.lists(lights, max_size=2), "frame": st.just("head")},
    ).filter(bool),
    st.just({"preset": "rim", "frame": "head"}),
    st.just({"sh": [[0.5] + [0.01] * 8] * 3}),
)
factors = st.fixed_dictionaries(
    {},
    optional={
        "pose": st.fixed_dictionaries({"yaw": angles}, optional={"pitch": angles, "roll": angles}) | st.just("prior"),
        "expression": expressions,
        "lighting": lightings,
        "noise": pers,
    },
)
outputs = st.fixed_dictionaries(
    {},
    optional={
        "image": st.fixed_dictionaries({"size": st.integers(16, 512)}, optional={"crop": st.just("arcface")}),
        "post": st.lists(
            st.sampled_from([{"blur_px": 1}, {"jpeg_quality": {"uniform": [40, 90]}}, {"grayscale": 1}]), max_size=4
        ),
        "annotations": st.lists(st.sampled_from(["landmarks", "depth", "parts"]), unique=True),
        "shards": st.fixed_dictionaries({"samples": st.integers(1, 999)}, optional={"order": st.just("shuffled")}),
    },
)


@st.composite
def documents(draw):
    """Sound specs of many shapes."""
    document = {**SOUND, "seed": draw(st.integers(0, 2**63 - 1)), "factors": draw(factors), "output": draw(outputs)}
    document["design"] = draw(st.sampled_from(["random", "sobol"]))
    names = draw(st.lists(st.sampled_from(["a", "b", "c-d"]), max_size=2, unique=True))
    if names:
        merges = st.sampled_from([{}, {"merge": "factor"}, {"merge": "leaf"}])
        document["conditions"] = {name: {**draw(factors), **draw(merges)} for name in names}
        document["images_per_identity"] = {name: draw(st.integers(1, 5)) for name in names}
    return document


@settings(max_examples=120, deadline=None)
@given(documents())
def test_a_spec_survives_being_written_and_read(document):
    """Words → spec → words → spec gives the same spec and digest, as data and as YAML."""
    spec = load_spec(document)
    assert load_spec(spec.to_dict()) == spec
    assert load_spec(spec.to_yaml()) == spec
    assert load_spec(spec.to_yaml()).digest == spec.digest
    assert not spec.check()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_data_raises_anything_but_spec_error(data):
    """Junk in any place of a sound document is a SpecError or, rarely, sound."""
    document = data.draw(documents())
    junk = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(
                junk | st.lists(junk, max_size=3) | st.dictionaries(st.text(max_size=4), junk, max_size=2)
            )
            break
        place[key] = dict(place[key]) if isinstance(place[key], dict) else list(place[key])
        place = place[key]
    problems = []
    try:
        load_spec(document)
    except SpecError as error:
        problems = list(error.problems)
    assert all("\n" not in str(problem) for problem in problems)


def test_yaml_and_python_make_the_same_spec():
    """Dataclasses built by hand equal what the loader builds, and are checked alike."""
    leaf = Leaf(Constant(0.0))
    rig = LightRig(Leaf(Constant(0.5)), (Light(Leaf(Uniform(-90.0, 90.0)), leaf, Leaf(Constant(1.0))),))
    base = Factors(
        Pose(Leaf(Uniform(-40.0, 40.0)), leaf, leaf), Named({"smile": Leaf(Uniform(0.2, 1.0), "identity")}), rig
    )
    built = Spec(
        name="t",
        seed=5,
        identities=Identities(count=7),
        images_per_identity={"default": 3},
        factors=base,
        output=Output(image=Image(size=64), post=(Post("blur_px", Leaf(Uniform(0.0, 2.0))),)),
    )
    text = """version: 1
name: t
seed: 5
identities: {count: 7}
images_per_identity: 3
factors:
  pose: {yaw: {uniform: [-40, 40]}, pitch: 0, roll: 0}
  expression: {named: {smile: {uniform: [0.2, 1], per: identity}}}
  lighting: {ambient: 0.5, lights: [{azimuth: {uniform: [-90, 90]}, elevation: 0, intensity: 1}]}
output: {image: {size: 64}, post: [{blur_px: {uniform: [0, 2]}}]}
"""
    assert load_spec(text) == built
    assert load_spec(text).digest == built.digest
    assert built.check() == []
    assert load_spec(built) == built


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"seed": -1}, "seed"),
        ({"images_per_identity": {"a": 2}}, "images_per_identity"),
        ({"design": Design("factorial", axes=("pose.yaw",))}, "design.axes[0]"),
        ({"factors": Factors(expression=Named({"smirk": Leaf(Constant(1.0))}))}, "factors.expression.named.smirk"),
        ({"factors": Factors(expression=Named({"smile": Leaf(Normal(0.5, 0.1))}))}, "factors.expression.named.smile"),
        ({"design": Design("one_factor", vary=("pose",), steps=1, anchor="a")}, "design.anchor"),
        ({"conditions": (Condition("a", Factors()),), "images_per_identity": {"b": 1}}, "images_per_identity.b"),
    ],
)
def test_a_spec_built_wrong_is_found_out(change, path):
    """`check` says of dataclasses what the loader says of YAML."""
    spec = dataclasses.replace(load_spec(SOUND), **change)
    assert path in {problem.path for problem in spec.check()}


def test_numpy_tuples_and_distributions_are_welcome():
    document = {
        **SOUND,
        "seed": np.int64(3),
        "factors": {"pose": {"yaw": Uniform(-3.0, 3.0), "pitch": np.float32(0.5)}},
    }
    document["output"] = {"annotations": ("landmarks",)}
    spec = load_spec(document)
    assert spec.seed == 3
    assert spec.factors.pose.yaw == Leaf(Uniform(-3.0, 3.0))
    assert spec.factors.pose.pitch == Leaf(Constant(0.5))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": float("nan")}, "must be finite"),
        ({"seed": object()}, "what YAML can say"),
        ({"factors": {3: 4}}, "keys are text"),
        ({"name": b"bytes"}, "what YAML can say"),
    ],
)
def test_what_yaml_cannot_say_is_refused(change, words):
    with pytest.raises(SpecError, match=words):
        load_spec({**SOUND, **change})


def test_a_mapping_within_itself_is_refused():
    document = dict(SOUND)
    document["factors"] = document
    with pytest.raises(SpecError, match="nested deeper"):
        load_spec(document)


def test_the_given_data_is_not_changed():
    document = {**SOUND, "factors": {"pose": {"yaw": {"uniform": [0, 1]}}}}
    before = repr(document)
    spec = load_spec(document)
    spec.replace({"factors.pose.yaw": 3})
    assert repr(document) == before
    assert spec.factors.pose.yaw == Leaf(Uniform(0.0, 1.0))


def test_a_wrong_change_is_refused():
    with pytest.raises(SpecError, match=r"identities\.cuont"):
        load_spec(SOUND).replace({"identities.cuont": 3})


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
def test_every_file_round_trips(base):
    spec = load_spec(base)
    again = Spec.from_dict(spec.to_dict(), folder=base.parent)
    assert again == spec
    assert again.digest == spec.digest


def test_the_digest_follows_what_decides_the_data():
    spec = load_spec(SOUND)
    digests = {spec.digest}
    changes = [{"seed": 1}, {"identities.count": 5}, {"factors.pose.yaw": 1}, {"output.image.size": 64}]
    for change in changes:
        digests.add(spec.replace(change).digest)
    assert len(digests) == 1 + len(changes)
    assert load_spec({**SOUND, "generator": "default", "splits": {"train": 1}}).digest == spec.digest


def test_reading_specs_needs_no_torch():
    """`synthface plan` starts fast: neither torch nor pandas is imported for a spec."""
    code = "import sys, synthface.spec; print([m for m in ('torch', 'pandas', 'pyarrow') if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
