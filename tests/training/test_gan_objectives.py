"""What each loss does: pictures moved by all losses but one fall short exactly in what that one is about."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from synthface.networks.mapping import LambdaSizes
from training.gan import losses
from training.gan.augment import Robustification
from training.gan.bank import EXPRESSION, LIGHTING, Bank, BankRows
from training.gan.frozen import Frozen, load_frozen
from training.gan.heads import project_landmarks
from training.gan.objectives import Objectives, inner_face, total
from training.gan.recipe import Contrastive, Imitative, Reconstruction

IMITATIVE = Imitative(identity=3, landmarks=500, lighting=10, colour=20)
CONTRASTIVE = Contrastive(expression=10, structure=10, identity=20)


@dataclasses.dataclass(frozen=True)
class World:
    """The toy world's bank and what looks at its pictures."""

    bank: Bank
    frozen: Frozen

    def objectives(self, robustification: Robustification | None = None, imitate_from_px: int = 32) -> Objectives:
        return Objectives(self.frozen, self.bank.sizes, robustification, imitate_from_px)


@pytest.fixture(scope="module")
def toy(world: Path) -> World:
    frozen = load_frozen(["recognition", "reconstruction", "parser"], world, torch.device("cpu"))
    return World(Bank(world / "bank.safetensors"), frozen)


def other_pictures(toy: World) -> tuple[Tensor, BankRows]:
    """Renderings of some λ to start from, and rows of others to imitate."""
    start = toy.bank.rows(torch.arange(0, 8)).image.clone()
    return start, toy.bank.rows(torch.arange(24, 32))


def imitated(toy: World, weights: Imitative, *, steps: int = 40) -> dict[str, float]:
    """Move pictures by the imitative losses; what each of them says in the end, weight or not."""
    pictures, rows = other_pictures(toy)
    pictures.requires_grad_()
    optimiser = torch.optim.Adam([pictures], lr=0.02)
    objectives, rng = toy.objectives(), torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimiser.zero_grad()
        total(objectives.imitative(pictures, rows, weights, generator=rng)).backward()
        optimiser.step()
    with torch.no_grad():
        everything = objectives.imitative(pictures, rows, IMITATIVE, generator=rng)
        return {name: float(term) for name, (_, term) in everything.items()}


@pytest.fixture(scope="module")
def with_all(toy: World) -> dict[str, float]:
    return imitated(toy, IMITATIVE)


@pytest.mark.parametrize("name", ["identity", "landmarks", "lighting", "colour"])
def test_without_one_imitative_loss_its_factor_is_not_imitated(
    toy: World, with_all: dict[str, float], name: str
) -> None:
    """Its own measure ends well above what it is with all losses on."""
    without = imitated(toy, dataclasses.replace(IMITATIVE, **{name: 0.0}))
    assert without[name] > 1.5 * with_all[name]


def test_the_pixel_loss_can_stay_on_at_full_resolution(toy: World) -> None:
    """Brought down to 8², it is 0 for the rendering itself, blind to fine grain, and nothing like 0 for another face."""
    rows = toy.bank.rows(torch.arange(24, 32))
    weights = Imitative(pixel=2.0, pixel_px=8)
    rng = torch.Generator().manual_seed(0)

    def loss(pictures: Tensor) -> float:
        terms = toy.objectives().imitative(pictures, rows, weights, generator=rng)
        assert set(terms) == {"pixel"} and terms["pixel"][0] == 2.0
        return float(terms["pixel"][1])

    grain = 0.2 * (torch.arange(32) % 2 * 2.0 - 1.0)
    assert loss(rows.image) < 1e-5
    assert loss(rows.image + grain) < 1e-5
    assert loss(toy.bank.rows(torch.arange(0, 8)).image) > 0.05


def contrasted(toy: World, kind: int, weights: Contrastive, *, steps: int = 40) -> dict[str, float]:
    """Move the second pictures of pairs, at first of other faces, by the contrastive losses."""
    numbers = toy.bank.pairs[kind][:6]
    first, second = toy.bank.rows(numbers), toy.bank.rows(numbers + 1)
    moved = toy.bank.rows(toy.bank.pairs[kind][6:12]).image.clone().requires_grad_()
    optimiser = torch.optim.Adam([moved], lr=0.02)
    objectives, rng = toy.objectives(), torch.Generator().manual_seed(0)

    def terms(weights: Contrastive) -> dict[str, tuple[float, Tensor]]:
        if kind == EXPRESSION:
            loss = objectives.expression_pair(first.image, moved, first, second, toy.bank.flow(numbers))
            return {"expression": (weights.expression, loss)}
        found = dict(objectives.lighting_pair(first.image, moved, first, weights, generator=rng))
        return {{"same_identity": "identity"}.get(name, name): term for name, term in found.items()}

    for _ in range(steps):
        optimiser.zero_grad()
        loss = total(terms(weights))
        if loss.requires_grad:
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        return {name: float(term) for name, (_, term) in terms(CONTRASTIVE).items()}


@pytest.mark.parametrize(
    ("kind", "name"), [(EXPRESSION, "expression"), (LIGHTING, "structure"), (LIGHTING, "identity")]
)
def test_without_one_contrastive_loss_pairs_differ_in_what_it_holds(toy: World, kind: int, name: str) -> None:
    with_it = contrasted(toy, kind, CONTRASTIVE)
    without = contrasted(toy, kind, dataclasses.replace(CONTRASTIVE, **{name: 0.0}))
    assert without[name] > 1.5 * with_it[name]


def test_a_perfect_imitation_costs_next_to_nothing(toy: World) -> None:
    """A bank's own pictures, which are the renderings: colour 0, identity inside the margin."""
    rows = toy.bank.rows(torch.arange(8))
    terms = toy.objectives().imitative(rows.image, rows, IMITATIVE, generator=torch.Generator())
    assert float(terms["colour"][1]) < 0.01
    assert float(terms["identity"][1]) == 0.0


def test_the_inner_face_holds_nose_and_cheeks_but_no_temples() -> None:
    """Of the mean head seen from the front and turned by 20°: nose and mouth are in; the jaw's outline and temples aren't."""
    sizes = LambdaSizes(80, 80, 52)
    vector = torch.zeros(2, sizes.total)
    vector[1, sizes.parts["pose_rad"].start + 1] = math.radians(20)
    landmarks = project_landmarks(vector, sizes)
    region, rows = inner_face(landmarks, 64), torch.arange(2)

    def at(points: Tensor) -> list[float]:
        column, row = (points * 64).long().unbind(dim=1)
        found: list[float] = region[rows, 0, row, column].tolist()
        return found

    for point in (30, 33, 48, 54, 66):
        assert at(landmarks[:, point]) == [1.0, 1.0], point
    for point in (0, 4, 8, 12, 16):
        outwards = landmarks[:, 30] + 1.05 * (landmarks[:, point] - landmarks[:, 30])
        assert at(outwards) == [0.0, 0.0], point
    nose_to_brow = landmarks[:, 17:27].mean(dim=1) - landmarks[:, 30]
    assert at(landmarks[:, 30] + 1.0 * nose_to_brow) == [1.0, 1.0]
    assert at(landmarks[:, 30] + 1.5 * nose_to_brow) == [0.0, 0.0], "the hairline"


def test_low_resolutions_use_the_pixel_loss(toy: World) -> None:
    rows = toy.bank.rows(torch.arange(4))
    small = torch.nn.functional.adaptive_avg_pool2d(rows.image, 16)
    weights = dataclasses.replace(IMITATIVE, pixel=20.0)
    terms = toy.objectives().imitative(small, rows, weights, generator=torch.Generator())
    assert set(terms) == {"pixel"}
    assert terms["pixel"][0] == 20.0
    assert float(terms["pixel"][1]) < 1e-6
    assert set(toy.objectives().imitative(rows.image, rows, weights, generator=torch.Generator())) == {
        "identity",
        "landmarks",
        "lighting",
        "colour",
    }


def test_disturbing_pictures_before_the_networks_leaves_landmarks_unbiased(toy: World) -> None:
    """Shifts are taken back: with many draws, mean landmarks are those of undisturbed pictures."""
    rows = toy.bank.rows(torch.arange(16))
    plain = toy.objectives()._reconstruct(rows.image, torch.Generator()).landmarks
    rng = torch.Generator().manual_seed(0)
    shaken = toy.objectives(Robustification(shift=0.05))
    reads = torch.stack([shaken._reconstruct(rows.image, rng).landmarks for _ in range(20)])
    assert (reads.mean(dim=0) - plain).abs().mean() < 0.02
    assert reads.std(dim=0).mean() > 1e-3


def test_identity_is_judged_inside_the_mask_only(toy: World) -> None:
    rows = toy.bank.rows(torch.arange(4))
    weights = Imitative(identity=1.0)
    changed = rows.image + 0.5 * (1 - rows.mask)
    values = [
        float(toy.objectives().imitative(x, rows, weights, generator=torch.Generator())["identity"][1])
        for x in (rows.image * 0.5, changed * rows.mask * 0.5 + changed * (1 - rows.mask))
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_identity_is_left_alone_once_within_the_margin(toy: World) -> None:
    """Eq. 2: what lies between two margins is a loss to the smaller, and none to the larger."""
    rows = toy.bank.rows(torch.arange(4))
    x = (rows.image + 0.3 * torch.randn(rows.image.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)

    def loss(margin: float) -> float:
        weights = Imitative(identity=1.0, identity_margin=margin)
        return float(toy.objectives().imitative(x, rows, weights, generator=torch.Generator())["identity"][1])

    distance = loss(0.0)
    assert distance > 0
    assert loss(distance / 2) > loss(distance * 2)
    assert loss(2.0) == 0.0


def test_reconstruction_terms_by_hand(toy: World) -> None:
    """Half the picture masked; off by 0.3 inside and 9 outside; codes of unit mean and variance e."""
    photo = torch.zeros(2, 3, 32, 32)
    x, mask = photo.clone(), torch.zeros(2, 1, 32, 32)
    mask[..., :16] = 1
    x[..., :16], x[..., 16:] = 0.3, 9.0
    terms, _ = toy.objectives().reconstruction(
        x, photo, mask, torch.ones(2, 5), torch.ones(2, 5), Reconstruction(l1=4, features=0, kl=0.1)
    )
    assert float(terms["l1"][1]) == pytest.approx(0.3, rel=1e-5)
    assert float(terms["kl"][1]) == pytest.approx(0.5 * (1 + 2.718282 - 1 - 1), rel=1e-5)
    assert float(total(terms)) == pytest.approx(4 * 0.3 + 0.1 * 0.859141, rel=1e-5)


def test_the_margin_lets_strangers_through_unless_descriptors_are_centred() -> None:
    """Descriptors that all lie in one direction: uncentred, strangers are within τ; centred, they aren't."""
    torch.manual_seed(0)
    mean = torch.full((64,), 1.0)
    first, second = (mean + 0.2 * torch.randn(50, 64) for _ in range(2))
    plain = losses.identity_loss(losses.centred_cosine(first, second, torch.zeros(64)))
    centred = losses.identity_loss(losses.centred_cosine(first, second, mean))
    assert float(plain) == 0.0
    assert float(centred) > 0.5
