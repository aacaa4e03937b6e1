"""A bias put in on purpose is in the data: attributes are correlated with each other and with what each image shows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from synthface.factors.types import AttributeAxis, FactorLayout
from synthface.identities import identity_factors
from synthface.plan import make_plan
from synthface.sampling import sample
from synthface.spec import load_spec, resolve
from synthface.spec.names import ARKIT_ACTIONS

TONE, AGE = "identities.attributes.skin_tone_ita_deg", "identities.attributes.age"


def axis(component: int) -> AttributeAxis:
    return AttributeAxis("degree", np.array([-60.0, 60.0]), np.array([[-2.0], [2.0]]), "albedo", (component,))


LAYOUT = FactorLayout(4, 3, ARKIT_ACTIONS, attributes={"skin_tone_ita_deg": axis(0), "age": axis(1)})
SPEC = {
    "version": 1,
    "name": "t",
    "seed": 3,
    "identities": {
        "count": 2000,
        "attributes": {"skin_tone_ita_deg": {"uniform": [-50, 50]}, "age": {"uniform": [-40, 40]}},
    },
    "factors": {
        "pose": {"yaw": {"uniform": [-30, 30], "per": "identity"}},
        "lighting": {"ambient": {"uniform": [0.1, 0.6]}},
    },
    "images_per_identity": 3,
}


def drawn(folder=".", **changes):
    spec = resolve(load_spec(SPEC).from_dict({**SPEC, **changes}, folder=folder), LAYOUT)
    plan = make_plan(spec, LAYOUT)
    return plan, sample(plan, np.arange(plan.num_images))


def spearman(rho: float) -> float:
    """What rank correlation a Gaussian copula of correlation rho has."""
    return 6 / np.pi * np.arcsin(rho / 2)


def test_attributes_go_with_what_images_show():
    """Between attributes, per-identity and per-image leaves, each pair has the correlation that was asked for."""
    names, rho = [TONE, "lighting.ambient", AGE, "pose.yaw"], np.eye(4)
    for i, j, value in [(0, 1, 0.6), (0, 2, -0.3), (0, 3, 0.4), (1, 2, 0.1), (1, 3, 0.3), (2, 3, 0.2)]:
        rho[i, j] = rho[j, i] = value
    _, samples = drawn(correlate=[{"between": names, "rho": rho.tolist()}])
    columns = [samples.columns[name] for name in ("skin_tone_ita_deg", "ambient", "age", "yaw_deg")]
    found = spearmanr(np.stack(columns, axis=1)).statistic
    np.testing.assert_allclose(found, spearman(rho), atol=0.06)


def test_a_correlation_changes_no_distribution_alone():
    _, plain = drawn()
    _, biased = drawn(correlate=[{"between": [TONE, "lighting.ambient"], "rho": 0.9}])
    np.testing.assert_array_equal(plain.columns["skin_tone_ita_deg"], biased.columns["skin_tone_ita_deg"])
    quantiles = np.linspace(0.05, 0.95, 19)
    before, after = (np.quantile(samples.columns["ambient"], quantiles) for samples in (plain, biased))
    np.testing.assert_allclose(after, before, atol=0.02)


def test_the_labels_are_the_faces():
    """The attribute's label, its coefficients and the identity stage agree, and stay within an identity."""
    plan, samples = drawn(correlate=[{"between": [AGE, TONE, "lighting.ambient"], "rho": 0.6}])
    ages = samples.columns["age"].reshape(2000, 3)
    assert (ages == ages[:, :1]).all()
    np.testing.assert_allclose(samples.factors.albedo[:, 1], samples.columns["age"] / 30, atol=1e-5)
    _, albedo, attributes = identity_factors(plan.spec, LAYOUT, np.arange(2000))
    np.testing.assert_array_equal(attributes["age"].astype(np.float32), ages[:, 0].astype(np.float32))
    np.testing.assert_array_equal(albedo, samples.factors.albedo[::3])


@pytest.mark.parametrize("per", ["identity", "dataset"])
def test_attributes_come_from_whole_rows_of_a_table(tmp_path, per):
    rows = {"tone": [-40.0, 0.0, 40.0], "age": [-30.0, 10.0, 30.0], "yaw": [-20.0, 5.0, 20.0]}
    pq.write_table(pa.table(rows), tmp_path / "people.parquet")
    columns = {TONE: "tone", AGE: "age", "pose.yaw": "yaw"}
    joint = {"table": {"file": "people.parquet", "columns": columns}, "per": per}
    _, samples = drawn(folder=tmp_path, joint=[joint])
    found = {
        tuple(row)
        for row in np.stack([samples.columns[n] for n in ("skin_tone_ita_deg", "age", "yaw_deg")], axis=1).tolist()
    }
    allowed = {(-40.0, -30.0, -20.0), (0.0, 10.0, 5.0), (40.0, 30.0, 20.0)}
    assert {tuple(np.round(row, 4)) for row in found} <= allowed
    assert len(found) == (3 if per == "identity" else 1)
