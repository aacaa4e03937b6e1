"""A condition overrides what it gives and keeps the rest."""

from __future__ import annotations

import pytest

from synthface.errors import SpecError
from synthface.spec import load_spec
from synthface.spec.distributions import Constant, Uniform
from synthface.spec.model import FactorPrior, Leaf, LightRig, Named, Neutral, Noise, SHLighting

BASE = {
    "version": 1,
    "name": "t",
    "seed": 0,
    "identities": {"count": 4},
    "images_per_identity": {"c": 1},
    "factors": {
        "pose": {"yaw": {"uniform": [-10, 10]}, "pitch": 1, "roll": 2},
        "expression": {"named": {"smile": 0.5, "jaw_open": 0.1}},
        "lighting": {"ambient": 0.5, "lights": [{"azimuth": 10, "elevation": 20, "intensity": 0.5}]},
        "noise": {"per": "identity"},
    },
}


def factors(condition):
    return load_spec({**BASE, "conditions": {"c": condition}}).conditions[0].factors


def test_nothing_given_keeps_all():
    assert factors({}) == load_spec({**BASE, "images_per_identity": 1}).factors


def test_an_angle_overrides_alone():
    merged = factors({"pose": {"yaw": 5}})
    assert merged.pose.yaw == Leaf(Constant(5.0))
    assert merged.pose.pitch == Leaf(Constant(1.0))
    assert merged.noise == Noise("identity")


def test_an_action_joins_the_others():
    merged = factors({"expression": {"named": {"jaw_open": 0.9, "blink": 1}}})
    assert merged.expression == Named(
        {k: Leaf(Constant(v)) for k, v in {"smile": 0.5, "jaw_open": 0.9, "blink": 1.0}.items()}
    )


def test_ambient_light_overrides_and_lights_stay():
    merged = factors({"lighting": {"ambient": 0.1}})
    assert isinstance(merged.lighting, LightRig)
    assert merged.lighting.ambient == Leaf(Constant(0.1))
    assert len(merged.lighting.lights) == 1


def test_lights_are_one_value():
    assert factors({"lighting": {"lights": []}}).lighting.lights == ()


def test_a_preset_replaces_what_it_sets():
    merged = factors({"lighting": {"preset": "rembrandt"}})
    assert (
        merged.lighting
        == load_spec(
            {**BASE, "images_per_identity": 1, "factors": {"lighting": {"preset": "rembrandt"}}}
        ).factors.lighting
    )


def test_the_frame_alone_turns_the_lights_that_are_there():
    merged = factors({"lighting": {"frame": "head"}})
    assert merged.lighting.frame == "head"
    assert len(merged.lighting.lights) == 1


@pytest.mark.parametrize(
    ("condition", "name", "value"),
    [
        ({"expression": "neutral"}, "expression", Neutral()),
        ({"expression": {"prior": {}}}, "expression", FactorPrior()),
        ({"pose": "prior"}, "pose", FactorPrior()),
        ({"lighting": {"sh": [[1] * 9] * 3}}, "lighting", SHLighting(((1.0,) * 9,) * 3)),
    ],
)
def test_another_kind_replaces_the_factor(condition, name, value):
    assert getattr(factors(condition), name) == value


def test_merge_factor_replaces_whole_factors():
    merged = factors({"merge": "factor", "pose": {"yaw": 5}, "expression": {"named": {"blink": 1}}})
    assert merged.pose.pitch != Leaf(Constant(1.0))
    assert merged.expression == Named({"blink": Leaf(Constant(1.0))})
    assert merged.lighting.ambient == Leaf(Constant(0.5))


def test_an_alias_and_its_action_clash_after_merging():
    """`smile` from the factors and `mouth_smile_left` from the condition would both move one corner of the mouth."""
    with pytest.raises(SpecError) as caught:
        factors({"expression": {"named": {"mouth_smile_left": 1}}})
    (problem,) = caught.value.problems
    assert problem.path == "conditions.c.expression.named.mouth_smile_left"
    assert "smile" in problem.message


def test_a_changed_spec_merges_anew():
    """`replace` works on what was written, so conditions follow the factors they override."""
    spec = load_spec({**BASE, "conditions": {"c": {"pose": {"yaw": 5}}}})
    changed = spec.replace({"factors.pose.pitch": {"uniform": [3, 4]}, "identities.count": 9}, seed=8)
    assert changed.conditions[0].factors.pose.pitch == Leaf(Uniform(3.0, 4.0))
    assert changed.conditions[0].factors.pose.yaw == Leaf(Constant(5.0))
    assert (changed.seed, changed.identities.count, spec.seed) == (8, 9, 0)
