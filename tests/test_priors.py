"""Whole factors by a learned prior: keyed like everything else, scaled, and the default where a generator has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthface.factors.priors import bundled_priors, draw_prior
from synthface.factors.types import FactorLayout
from synthface.generators import generator_info
from synthface.morphable.basis import MorphableBasis
from synthface.plan import Plan, make_plan
from synthface.sampling import sample
from synthface.spec.layout import resolve
from synthface.spec.loader import load_spec
from tests.toy import LinearPrior

HEAD = MorphableBasis.load().layout()
LEARNED = replace(
    HEAD,
    priors={
        "identity": LinearPrior(HEAD.num_shape + HEAD.num_albedo, gain=0.5),
        "expression": LinearPrior(HEAD.num_expression, mean=0.4, gain=0.05),
        "lighting": LinearPrior(27, mean=0.2, gain=0.01),
        "pose": LinearPrior(3, gain=0.1),
    },
)


def planned(factors: str, layout: FactorLayout = LEARNED, *, sample: str = "prior") -> Plan:
    text = (
        f"version: 1\nname: t\nseed: 3\nidentities: {{count: 4, sample: {sample}}}\nimages_per_identity: 5\n"
        f"factors: {factors}\n"
    )
    return make_plan(resolve(load_spec(text), layout), layout, tile_size=4)


def test_a_row_gives_the_same_values_in_any_company() -> None:
    asked = planned("{pose: prior, expression: prior, lighting: prior}")
    whole, alone = sample(asked, np.arange(20)), sample(asked, np.array([13]))
    for name, values in vars(whole.factors).items():
        np.testing.assert_array_equal(values[13:14], getattr(alone.factors, name), err_msg=name)


def test_what_is_left_out_comes_from_the_prior_and_what_is_given_does_not() -> None:
    asked = planned("{pose: {yaw: 20}}")
    drawn = sample(asked, np.arange(20))
    np.testing.assert_allclose(drawn.factors.expression.mean(), 0.4, atol=0.02)
    np.testing.assert_allclose(drawn.factors.sh.mean(), 0.2, atol=0.01)
    np.testing.assert_allclose(drawn.columns["yaw_deg"], 20, atol=1e-4)


def test_a_prior_leaves_other_factors_as_they_were() -> None:
    first = sample(planned("{pose: {yaw: {uniform: [-30, 30]}}, lighting: prior}"), np.arange(20))
    second = sample(planned("{pose: {yaw: {uniform: [-30, 30]}}, lighting: {ambient: 0.5}}"), np.arange(20))
    np.testing.assert_array_equal(first.factors.pose_rad, second.factors.pose_rad)
    np.testing.assert_array_equal(first.factors.noise, second.factors.noise)


def test_identities_come_from_their_prior_whole_and_their_scale_counts() -> None:
    wide = sample(planned("{}"), np.arange(20)).factors
    narrow = sample(planned("{}", sample="{prior: {scale: 0.1}}"), np.arange(20)).factors
    np.testing.assert_allclose(narrow.shape, 0.1 * wide.shape, atol=1e-5)
    np.testing.assert_allclose(narrow.albedo, 0.1 * wide.albedo, atol=1e-5)
    assert len(np.unique(wide.shape[:, 0])) == 4, "one identity, one shape"
    assert wide.shape.std() == pytest.approx(0.5, abs=0.05)


def test_per_identity_keeps_a_factor_and_scale_zero_is_the_typical_one() -> None:
    kept = sample(planned("{lighting: {prior: {scale: 1}, per: identity}}"), np.arange(20))
    assert len(np.unique(kept.factors.sh[:, 0, 0])) == 4
    typical = sample(planned("{expression: {prior: {scale: 0}}}"), np.arange(20))
    np.testing.assert_allclose(typical.factors.expression, 0.4, atol=1e-6)


def test_a_mixture_may_hold_a_prior() -> None:
    asked = planned("{expression: {mixture: [{weight: 1, neutral: true}, {weight: 1, prior: {}}]}}")
    expression = sample(asked, np.arange(20)).factors.expression
    is_neutral = (expression == 0).all(axis=1)
    assert 3 < is_neutral.sum() < 17
    assert expression[~is_neutral].mean() == pytest.approx(0.4, abs=0.05)


def test_streams_are_keyed_by_name_and_index() -> None:
    prior = LinearPrior(3)
    first = draw_prior(prior, 1, "a", np.array([5, 6]), scale=1.0)
    np.testing.assert_array_equal(first[1:], draw_prior(prior, 1, "a", np.array([6]), scale=1.0))
    assert not np.allclose(first, draw_prior(prior, 1, "b", np.array([5, 6]), scale=1.0))


@pytest.mark.skipif(not bundled_priors(), reason="no priors ship")
def test_the_shipped_priors_fit_the_bundled_model_and_draw_what_it_can_show() -> None:
    layout = generator_info("3dmm").layout
    sizes = {
        "identity": layout.num_shape + layout.num_albedo,
        "expression": layout.num_expression,
        "lighting": 27,
        "pose": 3,
    }
    assert {name: prior.size for name, prior in layout.priors.items()} == sizes
    drawn = {n: draw_prior(p, 0, n, np.arange(200), scale=1.0) for n, p in layout.priors.items()}
    assert (drawn["expression"] >= 0).all() and (drawn["expression"] <= 1).all()
    assert np.degrees(np.abs(drawn["pose"])).max() < 60
    basis = MorphableBasis.load()
    faces = basis.face_vertices
    albedo = basis.mean_albedo[faces] + np.einsum(
        "nk,kvc->nvc", drawn["identity"][:, layout.num_shape :], basis.albedo_basis[:, faces]
    )
    assert ((albedo > 0) & (albedo < 1)).mean() > 0.97
