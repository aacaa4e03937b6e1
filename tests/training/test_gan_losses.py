"""Eqs. 2–8: gradients against finite differences, and a case worked by hand each."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.gan import losses


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def disc(size: int = 6) -> Tensor:
    axis = torch.arange(size).double() - (size - 1) / 2
    return ((axis[:, None] ** 2 + axis[None] ** 2) < (size / 2.2) ** 2).double().expand(2, 1, size, size)


GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: losses.identity_loss(
        losses.centred_cosine(x.reshape(2, -1), rand(2, 108, seed=1) - 0.9, rand(108, seed=2))
    ),
    "landmark": lambda x: losses.landmark_loss(x.reshape(2, 54, 2), rand(2, 54, 2, seed=1)),
    "lighting": lambda x: losses.lighting_loss(x.reshape(2, -1), rand(2, 108, seed=1)),
    "colour": lambda x: losses.colour_loss(losses.mean_colour(x, disc()), rand(2, 3, seed=1)),
    "pixel": lambda x: losses.pixel_loss(x, rand(2, 3, 6, 6, seed=1), disc()),
    "expression": lambda x: losses.expression_loss(x, x.flip(0) * 0.5, 0.2 * rand(2, 6, 6, 2, seed=3) - 0.1, disc()),
    "structure": lambda x: losses.structure_loss(
        x[:, :1], rand(2, 1, 6, 6, seed=1), x[:, 1:].reshape(2, 36, 2), rand(2, 36, 2, seed=2), omega=10.0
    ),
    "same identity": lambda x: losses.same_identity_loss(
        losses.centred_cosine(x[:1].flatten(1), x[1:].flatten(1), rand(108, seed=2))
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    """Analytic gradients equal finite differences in double precision, and aren't all zero."""
    x = rand(2, 3, 6, 6, seed=9).requires_grad_()
    assert torch.autograd.gradcheck(GRADIENTS[name], (x,))
    (gradient,) = torch.autograd.grad(GRADIENTS[name](x), x)
    assert gradient.abs().max() > 1e-6


def test_identity_by_hand() -> None:
    """Cosines 1, 0.5 and −1 at τ = 0.3: (0 + 0.2 + 1.7) / 3."""
    assert losses.identity_loss(torch.tensor([1.0, 0.5, -1.0])).item() == pytest.approx(1.9 / 3)


def test_landmarks_by_hand() -> None:
    """Every point off by 3 px to the right in a 100 px picture: mean over both coordinates 0.03² / 2."""
    points = rand(2, 68, 2)
    off = points + torch.tensor([0.03, 0.0])
    assert losses.landmark_loss(off, points).item() == pytest.approx(0.03**2 / 2)


def test_lighting_by_hand() -> None:
    """One coefficient of 27 off by 0.54 in one of two samples: 0.54 / 54."""
    sh = rand(2, 3, 9)
    other = sh.clone()
    other[1, 2, 4] -= 0.54
    assert losses.lighting_loss(other, sh).item() == pytest.approx(0.01)


def test_colour_by_hand() -> None:
    """Half the mask differs by (0.6, 0, 0.8), an L2 norm of 1: the mean colours differ by half of it. Outside is free."""
    x = torch.zeros(1, 3, 2, 4)
    mask = torch.tensor([1.0, 1, 0, 0]).expand(1, 1, 2, 4)
    other = x.clone()
    other[:, 0, :, 0], other[:, 2, :, 0] = 0.6, 0.8
    other[:, :, :, 2:] = 9.0
    means = losses.mean_colour(other, mask), losses.mean_colour(x, mask)
    assert torch.allclose(means[0], torch.tensor([[0.3, 0.0, 0.4]]))
    assert losses.colour_loss(*means).item() == pytest.approx(0.5)


def test_pixels_by_hand() -> None:
    """A quarter of the masked pixels are off by a vector of length 3; pixels outside don't count."""
    x = torch.zeros(1, 3, 4, 4)
    other = x.clone()
    other[:, :, 0] = torch.tensor([1.0, 2.0, 2.0])[None, :, None]
    other[:, :, :, 3] = 7.0
    mask = torch.ones(1, 1, 4, 4)
    mask[..., 3] = 0
    assert losses.pixel_loss(other, x, mask).item() == pytest.approx(3 * 3 / 12)


def test_expression_pairs_that_are_warps_of_one_another_cost_nothing() -> None:
    """x' is x shifted two pixels to the right; v says that what x' shows at p was in x two pixels to the left."""
    x = losses.blur(rand(1, 3, 16, 16))
    x_other = torch.roll(x, 2, dims=3)
    flow = torch.zeros(1, 16, 16, 2, dtype=torch.float64)
    flow[..., 0] = -2 / 16
    valid = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    valid[..., 5:-5] = 1
    assert losses.expression_loss(x, x_other, flow, valid).item() < 1e-6
    assert losses.expression_loss(x, x_other, torch.zeros_like(flow), valid).item() > 1e-2


def test_expression_by_hand() -> None:
    """Uniform pictures that differ by (2, 2, 1)/10 have loss 0.3 whatever the flow; pixels left out don't count."""
    x, x_other = torch.zeros(1, 3, 8, 8), torch.tensor([0.2, 0.2, 0.1])[None, :, None, None].expand(1, 3, 8, 8).clone()
    valid = torch.ones(1, 1, 8, 8)
    valid[..., :4] = 0
    x_other[..., :1] = 5.0
    flow = torch.full((1, 8, 8, 2), 0.1)
    assert losses.expression_loss(x, x_other, flow, valid).item() == pytest.approx(0.3, abs=1e-6)


def test_structure_by_hand() -> None:
    """Hair differs by 0.5 in half the pixels, points by 1 % down: 0.125 + 1000 · 0.01² / 2."""
    hair = torch.zeros(1, 1, 4, 4)
    hair_other = hair.clone()
    hair_other[..., :2] = 0.5
    points = rand(1, 68, 2)
    loss = losses.structure_loss(hair, hair_other, points, points + torch.tensor([0.0, 0.01]))
    assert loss.item() == pytest.approx(0.125 + 0.05, rel=1e-5)


def test_same_identity_by_hand() -> None:
    """Descriptors at right angles once centred, and equal ones: (1 + 0) / 2. Uncentred, the first pair would be alike."""
    mean = torch.tensor([10.0, 10.0])
    first = torch.tensor([[11.0, 10.0], [12.0, 11.0]])
    second = torch.tensor([[10.0, 11.0], [12.0, 11.0]])
    assert losses.same_identity_loss(losses.centred_cosine(first, second, mean)).item() == pytest.approx(0.5)
    assert losses.centred_cosine(first, second, torch.zeros(2))[0].item() > 0.98


def test_blur_is_a_normalised_gaussian() -> None:
    """An impulse spreads as exp(−d²/8) over 5×5 pixels; a constant stays."""
    x = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    x[..., 5, 5] = 1.0
    out = losses.blur(x)[0, 0]
    assert out.sum().item() == pytest.approx(1.0)
    assert (out[5, 7] / out[5, 5]).item() == pytest.approx(math.exp(-4 / 8))
    assert (out[3, 3] / out[5, 5]).item() == pytest.approx(math.exp(-8 / 8))
    assert out[5, 8].item() == 0.0
    assert torch.allclose(losses.blur(torch.full_like(x, 0.7)), torch.full_like(x, 0.7))
