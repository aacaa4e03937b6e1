"""Skin tones: met exactly, in proportion all over the face, natural in colour, and the same in any batch."""

from __future__ import annotations

import numpy as np
import pytest

from synthface.factors.priors import bundled_priors, draw_prior
from synthface.factors.types import AttributeAxis
from synthface.identities import apply_attribute, read_attribute
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.skin import colour_of, individual_typology_angle, lab_of, reference_skin
from synthface.morphable.tone import with_tone

TONES = (-60.0, -40.0, -20.0, 0.0, 30.0, 60.0)


@pytest.fixture(scope="module")
def head() -> MorphableBasis:
    return MorphableBasis.load()


@pytest.fixture(scope="module")
def axis(head: MorphableBasis) -> AttributeAxis:
    return head.layout().attributes["skin_tone_ita_deg"]


@pytest.fixture(scope="module")
def people(head: MorphableBasis) -> np.ndarray:
    """(60, Kt) of the prior."""
    return draw_prior(bundled_priors()["identity"], 5, "people", np.arange(60), scale=1.0)[:, head.num_shape :]


def skins(head: MorphableBasis, albedo: np.ndarray) -> np.ndarray:
    """(N, V, 3) linear RGB."""
    return head.mean_albedo + np.einsum("nk,kvc->nvc", albedo, head.albedo_basis)


def part(head: MorphableBasis, *names: str) -> np.ndarray:
    numbers = [head.part_names.index(name) for name in names]
    found = np.zeros(head.num_vertices, bool)
    found[head.faces[np.isin(head.face_part, numbers)]] = True
    return found


def on_skin(head: MorphableBasis) -> np.ndarray:
    return (head.albedo_basis[:3] != 0).any(axis=(0, 2))


@pytest.mark.parametrize("ita", TONES)
@pytest.mark.parametrize("are_random", [False, True])
def test_cheeks_and_forehead_have_exactly_the_tone_asked_for(
    head: MorphableBasis, axis: AttributeAxis, people: np.ndarray, ita: float, are_random: bool
) -> None:
    albedo = np.random.default_rng(0).normal(size=(40, head.num_albedo)) if are_random else people.copy()
    apply_attribute(axis, np.full(len(albedo), ita), np.zeros((len(albedo), 1)), albedo)
    colour = skins(head, albedo)[:, reference_skin(head)].mean(axis=1)
    np.testing.assert_allclose(individual_typology_angle(colour), ita, atol=1e-3)
    np.testing.assert_allclose(read_attribute(axis, np.zeros((len(albedo), 1)), albedo), ita, atol=1e-9)


def test_who_has_the_tone_already_stays_as_they_are(axis: AttributeAxis, people: np.ndarray) -> None:
    own = read_attribute(axis, np.zeros((len(people), 1)), people)
    np.testing.assert_allclose(with_tone(axis, own, people), people, atol=1e-9)


@pytest.mark.parametrize(("ita", "most"), [(0.0, 0.08), (-30.0, 0.16), (-50.0, 0.22)])
def test_brows_lips_ears_and_neck_darken_with_the_skin(
    head: MorphableBasis, axis: AttributeAxis, people: np.ndarray, ita: float, most: float
) -> None:
    before, after = skins(head, people), skins(head, with_tone(axis, np.full(len(people), ita), people))
    reference, skin = reference_skin(head), on_skin(head)
    assert after[:, reference].mean() < 0.7 * before[:, reference].mean()
    for names in [("brow_left", "brow_right"), ("lips",), ("ear_left", "ear_right"), ("neck",), ("scalp",)]:
        where = part(head, *names) & skin
        share = [x[:, where].mean(axis=(1, 2)) / x[:, reference].mean(axis=(1, 2)) for x in (before, after)]
        np.testing.assert_allclose(share[1], share[0], rtol=most, err_msg=str(names))


@pytest.mark.parametrize(("ita", "most"), [(0.0, 0.08), (-30.0, 0.18), (-50.0, 0.3)])
def test_a_face_is_as_even_as_it_was(
    head: MorphableBasis, axis: AttributeAxis, people: np.ndarray, ita: float, most: float
) -> None:
    """Root mean square distance to the same face darkened by gains, over its mean."""
    before, after = skins(head, people), skins(head, with_tone(axis, np.full(len(people), ita), people))
    reference = reference_skin(head)
    gain = after[:, reference].mean(axis=1) / before[:, reference].mean(axis=1)
    exact = (before * gain[:, None])[:, head.face_vertices]
    assert np.sqrt(np.square(after[:, head.face_vertices] - exact).mean()) < most * exact.mean()


def test_eyes_and_teeth_keep_their_colours(head: MorphableBasis, axis: AttributeAxis, people: np.ndarray) -> None:
    before, after = skins(head, people), skins(head, with_tone(axis, np.full(len(people), -50.0), people))
    off = ~on_skin(head)
    assert (part(head, "teeth", "iris_left", "eye_white_right") & off).sum() > 300
    np.testing.assert_array_equal(after[:, off], before[:, off])


@pytest.mark.parametrize("ita", TONES)
def test_skin_reflects_some_light_all_but_everywhere(
    head: MorphableBasis, axis: AttributeAxis, people: np.ndarray, ita: float
) -> None:
    """What lies at or below 0 are single corners of lips and lids in one channel; the renderer holds them at 0."""
    albedo = with_tone(axis, np.full(len(people), ita), people)
    assert (skins(head, albedo)[:, on_skin(head)] <= 0).mean() < 0.005


def test_deep_skin_loses_its_yellow_as_it_loses_light(axis: AttributeAxis) -> None:
    assert axis.colour is not None
    path = lab_of(axis.colour.mean + axis.coefficients @ axis.colour.steps[list(axis.components)])
    assert (np.diff(path[:, 0]) > 0).all()
    lightness, red, yellow = (np.interp([-50, -25, 0], axis.values, path[:, n]) for n in range(3))
    assert (np.diff(yellow) > 1).all()
    assert (np.diff(red) > 1).all()
    assert 30 < lightness[0] < 39
    assert 9 < red[0] < 14
    assert 9 < yellow[0] < 16


def test_people_of_one_tone_keep_their_undertones(
    head: MorphableBasis, axis: AttributeAxis, people: np.ndarray
) -> None:
    alike = with_tone(axis, np.full(len(people), 30.0), people)
    deep = with_tone(axis, np.full(len(people), -40.0), people)
    yellow = [lab_of(skins(head, x)[:, reference_skin(head)].mean(axis=1))[:, 2] for x in (alike, deep)]
    assert yellow[0].std() > 0.3
    assert np.corrcoef(yellow)[0, 1] > 0.99


def test_a_person_is_bit_equal_alone_and_in_any_batch(axis: AttributeAxis, people: np.ndarray) -> None:
    tones = np.linspace(-60, 60, len(people))
    together = with_tone(axis, tones, people)
    for n in range(0, len(people), 7):
        np.testing.assert_array_equal(with_tone(axis, tones[n : n + 1], people[n : n + 1])[0], together[n])


def test_lab_goes_there_and_back() -> None:
    colours = np.random.default_rng(0).uniform(0.001, 1, (50, 3))
    np.testing.assert_allclose(colour_of(lab_of(colours)), colours, atol=1e-12)
    np.testing.assert_allclose(lab_of(np.ones(3)), [100, 0, 0], atol=0.02)
    # sRGB #604134, the Monk scale's eighth step.
    eighth = np.array([0.11697, 0.05286, 0.03434])
    np.testing.assert_allclose(lab_of(eighth), [30.6, 11.8, 13.4], atol=0.5)
