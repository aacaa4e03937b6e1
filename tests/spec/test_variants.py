"""Fifty ways of saying things that are right, and what each means."""

from __future__ import annotations

from typing import Any

import pytest

from synthface.spec import load_spec
from synthface.spec.distributions import (
    Beta,
    Choice,
    Constant,
    Grid,
    Mixture,
    Normal,
    Uniform,
    VonMises,
)
from synthface.spec.model import (
    Correlation,
    Design,
    ExpressionMixture,
    FactorPrior,
    Leaf,
    LeftOut,
    LightRig,
    Named,
    Neutral,
    Noise,
    PairList,
    Shards,
)

HEAD = "version: 1\nname: t\nseed: 0\nidentities: {count: 40}\n"
ONE = "images_per_identity: 4\n"


def load(text: str, head: str = HEAD, counts: str = ONE):
    return load_spec(head + counts + text + "\n")


def yaw(words: str) -> Leaf:
    return load(f"factors: {{pose: {{yaw: {words}}}}}").factors.pose.yaw


@pytest.mark.parametrize(
    ("words", "distribution"),
    [
        ("3", Constant(3.0)),
        ("-2.5e1", Constant(-25.0)),
        ("{constant: 3}", Constant(3.0)),
        ("{uniform: [-4, 40]}", Uniform(-4.0, 40.0)),
        ("{uniform: {low: -4, high: 40}}", Uniform(-4.0, 40.0)),
        ("{normal: [1, 2]}", Normal(1.0, 2.0)),
        ("{normal: {mean: 1, std: 2, low: -3}}", Normal(1.0, 2.0, low=-3.0)),
        ("{normal: {mean: 1, std: 2, low: -3, high: 4}}", Normal(1.0, 2.0, -3.0, 4.0)),
        ("{beta: [2, 5]}", Beta(2.0, 5.0)),
        ("{beta: {a: 2, b: 5, low: -30, high: 30}}", Beta(2.0, 5.0, -30.0, 30.0)),
        ("{von_mises: [10, 4]}", VonMises(10.0, 4.0)),
        ("{von_mises: {mean: 10, kappa: 4}}", VonMises(10.0, 4.0)),
        ("{choice: [1, 2, 5]}", Choice((1.0, 2.0, 5.0))),
        ("{choice: {values: [1, 2], weights: [3, 1]}}", Choice((1.0, 2.0), (3.0, 1.0))),
        ("{grid: [-10, 0, 10]}", Grid((-10.0, 0.0, 10.0))),
        ("{grid: {start: -10, stop: 10, num: 5}}", Grid((-10.0, -5.0, 0.0, 5.0, 10.0))),
        ("{grid: {start: 3, stop: 3, num: 1}}", Grid((3.0,))),
        (
            "{mixture: [{weight: 2, constant: 0}, {weight: 1, uniform: [0, 9]}]}",
            Mixture(((2.0, Constant(0.0)), (1.0, Uniform(0.0, 9.0)))),
        ),
        (
            "{mixture: [{weight: 1, mixture: [{weight: 1, constant: 5}]}]}",
            Mixture(((1.0, Mixture(((1.0, Constant(5.0)),))),)),
        ),
    ],
)
def test_distributions(words, distribution):
    assert yaw(words) == Leaf(distribution, "image")


@pytest.mark.parametrize("per", ["image", "identity", "dataset"])
def test_per_stands_beside_any_distribution(per):
    assert yaw(f"{{uniform: [0, 1], per: {per}}}").per == per
    assert yaw(f"{{constant: 1, per: {per}}}").per == per


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        ("neutral", Neutral()),
        ("{neutral: true}", Neutral()),
        ("prior", FactorPrior()),
        ("{prior: {scale: 0.5}, per: identity}", FactorPrior(0.5, "identity")),
        ("{named: {smile: 1}}", Named({"smile": Leaf(Constant(1.0))})),
        ("{named: {mouth_smile_left: 0.5}}", Named({"mouth_smile_left": Leaf(Constant(0.5))})),
        (
            "{mixture: [{weight: 1, neutral: true}, {weight: 3, prior: {}}], per: dataset}",
            ExpressionMixture(((1.0, Neutral()), (3.0, FactorPrior())), "dataset"),
        ),
    ],
)
def test_expressions(words, expression):
    assert load(f"factors: {{expression: {words}}}").factors.expression == expression


@pytest.mark.parametrize(
    "words",
    [
        "{ambient: 1}",
        "{lights: []}",
        "{preset: rembrandt}",
        "{preset: rembrandt, frame: head, ambient: 0.3}",
        "{ambient: {beta: {a: 2, b: 2, low: 0.1, high: 0.9}}, frame: camera}",
        "{lights: [{azimuth: -180, elevation: -90, intensity: 0, colour_temperature: 6500}]}",
    ],
)
def test_rigs(words):
    rig = load(f"factors: {{lighting: {words}}}").factors.lighting
    assert isinstance(rig, LightRig)
    assert rig.frame == ("head" if "head" in words else "camera")


def test_the_rest():
    """Whatever is left out has its documented default."""
    spec = load("")
    assert spec.factors.pose == LeftOut()
    assert spec.factors.noise == Noise("image")
    assert spec.splits == {"train": 1.0}
    assert spec.output.image.size == 256
    assert spec.output.shards == Shards(10_000, "identity")
    assert (spec.generator, spec.design) == ("default", Design())


@pytest.mark.parametrize(
    ("text", "read", "value"),
    [
        ("noise: {per: identity}", lambda s: s.factors.noise, Noise("identity")),
        ("pose: prior", lambda s: s.factors.pose, FactorPrior()),
        ("lighting: {prior: {scale: 2}}", lambda s: s.factors.lighting, FactorPrior(2.0)),
    ],
)
def test_other_factors(text, read, value):
    assert read(load(f"factors: {{{text}}}")) == value


GRID = "factors: {pose: {yaw: {grid: [0, 9]}, pitch: {grid: [0, 5]}}}\n"


@pytest.mark.parametrize(
    ("text", "read", "value"),
    [
        ("design: sobol", lambda s: s.design, Design("sobol")),
        ("design: {kind: random}", lambda s: s.design, Design("random")),
        (
            GRID + "design: {kind: factorial, axes: [pose.yaw, pose.pitch]}",
            lambda s: s.design,
            Design("factorial", ("pose.yaw", "pose.pitch")),
        ),
        (
            "design: {kind: one_factor, vary: [expression], steps: 3}",
            lambda s: s.design,
            Design("one_factor", vary=("expression",), steps=3),
        ),
        ("splits: {a: 0.333333333, b: 0.333333333, c: 0.333333334}", lambda s: len(s.splits), 3),
        ("output: {image: {crop: arcface}}", lambda s: s.output.image.size, 112),
        ("output: {image: {format: png}}", lambda s: s.output.image.format, "png"),
        ("output: {annotations: []}", lambda s: s.output.annotations, ()),
        (
            "pairs: {any: {split: train, genuine: 10, impostor: 0}}",
            lambda s: s.pairs["any"],
            PairList("train", 10, 0, 10, ()),
        ),
        (
            "correlate: [{between: [pose.yaw, pose.pitch, lighting.ambient], rho: 0.2}]",
            lambda s: s.correlate[0],
            Correlation(
                ("pose.yaw", "pose.pitch", "lighting.ambient"), ((1.0, 0.2, 0.2), (0.2, 1.0, 0.2), (0.2, 0.2, 1.0))
            ),
        ),
        (
            "correlate: [{between: [pose.yaw, pose.pitch], rho: [[1, -0.5], [-0.5, 1]]}]",
            lambda s: s.correlate[0].rho,
            ((1.0, -0.5), (-0.5, 1.0)),
        ),
    ],
)
def test_designs_and_outputs(text: str, read: Any, value: Any):
    assert read(load(text)) == value


def test_a_factor_named_elsewhere_gets_its_leaves():
    """`pose.yaw` in a correlation means angles, though the spec gives none and the generator may have a prior."""
    spec = load("correlate: [{between: [pose.yaw, lighting.ambient], rho: 0.5}]")
    assert not isinstance(spec.factors.pose, LeftOut)
    assert isinstance(spec.factors.lighting, LightRig)
    assert isinstance(spec.factors.expression, LeftOut)


@pytest.mark.parametrize("count", ["1e3", "1000.0", "0x3E8", "1000"])
def test_whole_numbers_may_be_written_in_any_way(count):
    assert load("", head=f"version: 1\nname: t\nseed: 0\nidentities: {{count: {count}}}\n").identities.count == 1000
