"""A spec meets a generator: what it lacks, where it isn't trusted, and what stands in for what is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from synthface.errors import SpecError
from synthface.factors.types import AttributeAxis, FactorLayout
from synthface.spec import check_against_layout, load_spec, resolve
from synthface.spec.model import ExpressionMixture, FactorPrior, LightRig, Neutral, Pose
from synthface.spec.names import ARKIT_ACTIONS
from tests.toy import LinearPrior

AXIS = AttributeAxis("degree", np.array([-60.0, 60.0]), np.array([[-1.0], [1.0]]), "albedo", (0,))
LAYOUT = FactorLayout(
    num_shape=4,
    num_albedo=2,
    expression_names=ARKIT_ACTIONS,
    attributes={"skin_tone_ita_deg": AXIS},
    trusted_ranges={
        "pose.yaw": (-40.0, 40.0),
        "expression.mouth_smile_right": (0.0, 0.8),
        "lighting.lights.azimuth": (-90, 90),
    },
)
LEARNED = dataclasses.replace(
    LAYOUT, priors={name: LinearPrior(size) for name, size in (("pose", 3), ("expression", 4), ("lighting", 27))}
)


def load(text: str = "", identities: str = "count: 10", counts: str = "2"):
    return load_spec(
        f"version: 1\nname: t\nseed: 0\nidentities: {{{identities}}}\nimages_per_identity: {counts}\n{text}\n"
    )


def problems(spec, layout=LAYOUT):
    return [(problem.line, problem.message) for problem in check_against_layout(spec, layout).problems]


def warnings(spec, layout=LAYOUT):
    return [(problem.line, problem.message) for problem in check_against_layout(spec, layout).warnings]


def test_what_is_left_out_becomes_the_prior_or_the_default():
    assert isinstance(resolve(load(), LEARNED).factors.pose, FactorPrior)
    factors = resolve(load(), LAYOUT).factors
    assert isinstance(factors.pose, Pose)
    assert isinstance(factors.expression, ExpressionMixture)
    assert isinstance(factors.lighting, LightRig)


@pytest.mark.parametrize("layout", [LAYOUT, LEARNED])
def test_resolving_twice_is_resolving_once(layout):
    once = resolve(load(), layout)
    assert resolve(once, layout) == once
    assert load_spec(once.to_yaml()) == once


def test_conditions_are_resolved_too():
    spec = load("conditions: {a: {}, b: {pose: {yaw: 3}}}", counts="{a: 1, b: 2}")
    assert all(isinstance(c.factors.lighting, LightRig) for c in resolve(spec, LAYOUT).conditions)


def test_default_expressions_use_only_known_actions():
    layout = dataclasses.replace(LAYOUT, expression_names=("jaw_open",))
    expression = resolve(load(), layout).factors.expression
    names = {name for _, c in expression.components if not isinstance(c, Neutral) for name in c.values}
    assert names == {"jaw_open"}


@pytest.mark.parametrize(
    ("text", "identities", "line", "word"),
    [
        ("factors: {pose: prior}", "count: 10", 6, "`prior` for pose"),
        (
            "factors:\n  expression:\n    mixture:\n    - {weight: 1, prior: {}}",
            "count: 10",
            9,
            "`prior` for expression",
        ),
        ("factors: {lighting: {prior: {scale: 2}}}", "count: 10", 6, "`prior` for lighting"),
        ("", "count: 10, balance: {by: skin_tone, edges: [0, 1]}", 4, "did you mean 'skin_tone_ita_deg'"),
        ("", "count: 10, balance: {by: skin_tone_ita_deg, edges: [0, 60, 70]}", 4, "nobody can fall between 60 and 70"),
        (
            "",
            "count: 10, attributes: {skin_tone_ita_deg: {uniform: [0, 9]}}, "
            "balance: {by: skin_tone_ita_deg, edges: [0, 9, 20]}",
            4,
            "goes from 0 to 9 here",
        ),
        (
            "",
            "count: 10, attributes: {skin_tone_ita_deg: {uniform: [0, 9], per: dataset}}, "
            "balance: {by: skin_tone_ita_deg, edges: [0, 9]}",
            4,
            "nothing can be balanced",
        ),
        ("", "count: 10, attributes: {skin_tone: 3}", 4, "did you mean 'skin_tone_ita_deg'"),
        (
            "",
            "count: 10, attributes: {skin_tone_ita_deg: {uniform: [-50, 80]}}",
            4,
            "allowed with this generator: -60 to 60",
        ),
    ],
)
def test_what_the_generator_lacks_is_a_problem(text, identities, line, word):
    spec = load(text, identities)
    (found,) = problems(spec)
    assert found[0] == line
    assert word in found[1]
    with pytest.raises(SpecError):
        resolve(spec, LAYOUT)


def test_the_identity_prior_is_always_there():
    assert not problems(load(identities="count: 3, sample: {prior: {scale: 0.5}}"))


def test_an_unknown_action_is_named_with_its_neighbour():
    layout = dataclasses.replace(LAYOUT, expression_names=("jaw_open", "mouth_smile_left", "mouth_smile_right"))
    (found,) = problems(load("factors: {expression: {named: {jaw_forward: 1}}}"), layout)
    assert "'jaw_forward'" in found[1]
    assert not problems(load("factors: {expression: {named: {smile: 1}}}"), layout)


def test_leaving_the_trusted_range_warns_and_says_by_how_much():
    (found,) = warnings(load("factors:\n  pose: {yaw: {uniform: [-60, 60]}}"))
    assert found[0] == 7
    assert "33.3% of the draws" in found[1]
    assert "by up to 20" in found[1]


def test_an_alias_is_judged_by_what_it_drives():
    (found,) = warnings(load("factors: {expression: {named: {smile: 1}}}"))
    assert "100.0%" in found[1]


def test_the_range_of_a_light_is_that_of_every_light():
    light = "{azimuth: 120, elevation: 0, intensity: 1}"
    assert len(warnings(load(f"factors: {{lighting: {{lights: [{light}, {light}]}}}}"))) == 2


def test_a_normal_that_hardly_ever_leaves_is_not_worth_a_word():
    assert not warnings(load("factors: {pose: {yaw: {normal: [0, 8]}}}"))


def test_what_a_condition_inherits_is_said_once():
    text = "factors: {pose: {yaw: 50}}\nconditions:\n  a: {}\n  b: {pose: {pitch: 2}}\n  c: {pose: {yaw: -60}}"
    found = warnings(load(text, counts="{a: 1, b: 1, c: 1}"))
    assert [line for line, _ in found] == [6, 10]


def test_a_prior_may_be_asked_for_where_there_is_one():
    assert not problems(load("factors: {pose: prior, expression: {mixture: [{weight: 1, prior: {}}]}}"), LEARNED)
