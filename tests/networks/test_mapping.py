"""The mapping network, how λ is packed, and truncation in W."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthface.factors.types import FactorBatch, FactorLayout
from synthface.morphable.model import Factors
from synthface.networks.mapping import GROUPS, LambdaSizes, MappingNetwork, broadcast
from synthface.networks.truncation import Truncation, mean_w, truncate_attribute_preserving, truncate_plain

SIZES = LambdaSizes(shape=4, albedo=3, expression=5)


def random_factors(num: int, seed: int = 0) -> Factors:
    torch.manual_seed(seed)
    return Factors(
        torch.randn(num, 4), torch.randn(num, 3), torch.rand(num, 5), torch.randn(num, 3, 9), torch.randn(num, 3)
    )


def test_lambda_survives_packing() -> None:
    """unpack(pack(λ)) is λ, part by part, and the parts lie where `parts` says."""
    factors = random_factors(6)
    vector = SIZES.pack(factors)
    assert vector.shape == (6, SIZES.total) == (6, 4 + 3 + 5 + 27 + 3)
    for name, back in SIZES.unpack(vector)._asdict().items():
        assert torch.equal(back, getattr(factors, name))
        assert torch.equal(vector[:, SIZES.parts[name]], getattr(factors, name).flatten(1))


def test_the_four_factors_share_out_the_vector() -> None:
    """Every number of λ belongs to exactly one of the paper's four factors."""
    columns = torch.cat([SIZES.columns(group) for group in GROUPS])
    assert sorted(columns.tolist()) == list(range(SIZES.total))


def test_sizes_follow_the_layout() -> None:
    layout = FactorLayout(num_shape=4, num_albedo=3, expression_names=("a", "b", "c", "d", "e"))
    batch = FactorBatch.neutral(layout, 2)
    assert LambdaSizes.of(layout).pack(Factors.of(batch)).shape == (2, LambdaSizes.of(layout).total)


def test_standardised_inputs_have_unit_variance_but_keep_their_length() -> None:
    """The input is rescaled by constants, not normalised sample by sample: twice the offset is twice the input."""
    torch.manual_seed(1)
    table = torch.randn(500, 10) * torch.linspace(0.1, 30, 10) + 5
    table[:, 3] = 2.0
    mapping = MappingNetwork(10, 2, w_dim=16, num_layers=2)
    mapping.set_standardisation(table)
    z = (table - mapping.mean) / mapping.scale
    spread = z.std(dim=0, unbiased=False)
    assert torch.allclose(spread[[0, 1, 2, 4, 9]], torch.ones(5), atol=1e-4)
    assert spread[3] < 1e-4, "a constant column must not be blown up"
    w = [mapping((mapping.mean + k * mapping.scale)[None], torch.zeros(1, 2)) for k in (1.0, 2.0)]
    assert not torch.allclose(w[0], w[1], atol=1e-3)


def test_the_mapping_keeps_variance_through_eight_layers() -> None:
    """Equalised learning rates and the √2 gain keep activations of order one."""
    torch.manual_seed(2)
    mapping = MappingNetwork(64, 32)
    w = mapping(torch.randn(256, 64), torch.randn(256, 32))
    assert w.shape == (256, 512)
    assert 0.5 < w.square().mean().sqrt() < 2.0


def test_learning_rate_multiplier_slows_the_function_not_the_start() -> None:
    """With multiplier m an SGD step moves the output by m² times as much; the output at start has the same scale."""
    moved = []
    for multiplier in (1.0, 0.1):
        torch.manual_seed(3)
        mapping = MappingNetwork(8, 2, w_dim=8, num_layers=1, lr_multiplier=multiplier)
        x, noise = torch.randn(4, 8), torch.randn(4, 2)
        before = mapping(x, noise)
        before.sum().backward()
        with torch.no_grad():
            for parameter in mapping.parameters():
                parameter -= 1e-3 * parameter.grad
        moved.append((mapping(x, noise) - before).abs().mean().item())
    assert moved[1] == pytest.approx(0.01 * moved[0], rel=0.05)


def test_noise_distribution_takes_standard_normals_to_the_codes() -> None:
    torch.manual_seed(4)
    codes = torch.randn(4000, 3) @ torch.tensor([[2.0, 0, 0], [1, 0.5, 0], [0, 0, 0.1]]) + torch.tensor([1.0, 2, 3])
    mapping = MappingNetwork(2, 3, w_dim=4, num_layers=1)
    mapping.set_noise_distribution(codes)
    drawn = mapping.noise_mean + torch.randn(20000, 3) @ mapping.noise_mix.T
    assert torch.allclose(drawn.mean(dim=0), codes.mean(dim=0), atol=0.05)
    assert torch.allclose(torch.cov(drawn.T), torch.cov(codes.T), atol=0.15)
    lam, noise = torch.randn(5, 2), mapping.noise_of(codes[:5])
    assert torch.allclose(mapping(lam, noise), mapping.from_code(lam, codes[:5]), atol=1e-4)


def test_plain_truncation_by_hand() -> None:
    """ψ = 0.75 takes a quarter of the way to the centre, only in the layers of the range."""
    ws = broadcast(torch.tensor([[4.0, 0.0]]), 3)
    out = truncate_plain(ws, torch.tensor([0.0, 8.0]), Truncation(0.75, "plain", 1, 2))
    assert torch.equal(out, torch.tensor([[[4.0, 0.0], [3.0, 2.0], [4.0, 0.0]]]))


def test_attribute_preserving_truncation_by_hand() -> None:
    """The step is (1 − ψ)(w̄_α − w(a, 0)), whatever the other factors made of w."""
    ws = broadcast(torch.tensor([[4.0, 0.0], [-7.0, 5.0]]), 2)
    neutral = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    out = truncate_attribute_preserving(ws, neutral, torch.tensor([3.0, -1.0]), Truncation(0.5, last_layer=1))
    assert torch.equal(out[:, 0] - ws[:, 0], torch.tensor([[1.0, -1.0], [1.0, -1.0]]))
    assert torch.equal(out[:, 1], ws[:, 1])


def test_the_mean_does_not_depend_on_chunks() -> None:
    inputs = torch.from_numpy(np.random.default_rng(5).normal(size=(1000, 3))).float()
    assert torch.allclose(mean_w(lambda x: x * 2, inputs, chunk=7), inputs.mean(dim=0) * 2, atol=1e-6)
