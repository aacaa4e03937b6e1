"""The λ-VAE: its loss term by term, bounds, and the NumPy decoder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from synthface.errors import GeneratorError
from synthface.networks.decoders import load_decoders
from synthface.networks.vae import FactorVae, VaeConfig, smooth_clamp
from training.vae.export import load_vaes, save_priors


def made(bounds: tuple[float, float] | None = None) -> FactorVae:
    torch.manual_seed(0)
    vae = FactorVae(VaeConfig(5, 3, 16, bounds))
    vae.set_standardisation(torch.rand(100, 5) * torch.tensor([1.0, 2, 3, 4, 5]))
    return vae


def test_three_hidden_layers_each_way() -> None:
    vae = made()
    widths = [tuple(layer.weight.shape) for layer in vae.decoder if hasattr(layer, "weight")]
    assert widths == [(16, 3), (16, 16), (16, 16), (5, 16)]
    assert [tuple(layer.weight.shape) for layer in vae.encoder if hasattr(layer, "weight")][-1] == (6, 16)


def test_loss_against_torch_distributions() -> None:
    """KL and −log p(x|z) equal those of torch's own normal distributions."""
    vae = made()
    with torch.no_grad():
        vae.log_s.fill_(-0.7)
    x, noise = torch.rand(8, 5), torch.randn(8, 3)
    terms = vae.terms(x, noise=noise)
    mean, log_variance = vae.encode(x)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1).mean()
    z = mean + (0.5 * log_variance).exp() * noise
    likelihood = torch.distributions.Normal((vae.decode(z) - vae.mean) / vae.scale, math.exp(-0.7))
    expected = -likelihood.log_prob((x - vae.mean) / vae.scale).sum(dim=1).mean()
    assert terms.kl.item() == pytest.approx(kl.item(), rel=1e-5)
    assert terms.reconstruction.item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms.loss.item() == pytest.approx((kl + expected).item(), rel=1e-5)


def test_bounded_decoders_never_leave_the_bounds() -> None:
    vae = made((0.0, 1.0))
    decoded = vae.decode(torch.randn(500, 3) * 20)
    assert decoded.min() >= 0.0
    assert decoded.max() <= 1.0


def test_smooth_clamp_is_the_identity_inside() -> None:
    x = torch.linspace(-2, 3, 101)
    out = smooth_clamp(x, 0.0, 1.0)
    inside = (x > 0.2) & (x < 0.8)
    assert torch.allclose(out[inside], x[inside], atol=1e-3)
    assert (out.diff() >= -1e-6).all()
    assert smooth_clamp(torch.tensor(-0.5), 0.0, 1.0).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
def test_numpy_decodes_like_torch(tmp_path: Path, bounds: tuple[float, float] | None) -> None:
    """The decoder that rendering uses gives torch's numbers, whatever the batch."""
    vae = made(bounds).eval()
    save_priors(tmp_path, {"expression": vae}, {})
    decoder = load_decoders(tmp_path)["expression"]
    z = np.random.default_rng(0).normal(size=(9, 3))
    decoded = decoder.decode(z)
    assert decoder.z_size == 3
    assert decoded.dtype == np.float32
    with torch.no_grad():
        assert np.allclose(decoded, vae.decode(torch.from_numpy(z).float()).numpy(), atol=1e-5)
        residual = torch.randn(9, 5)
        expected = vae.decode(torch.from_numpy(z).float(), residual=residual).numpy()
        assert np.allclose(decoder.decode(z, residual=residual.numpy()), expected, atol=1e-5)
        assert not np.allclose(expected, decoded, atol=1e-2)
    assert np.array_equal(decoder.decode(z[4:5])[0], decoded[4])


def test_whole_networks_come_back(tmp_path: Path) -> None:
    vae = made((0.0, 1.0)).eval()
    save_priors(tmp_path, {"expression": vae}, {})
    back = load_vaes(tmp_path)["expression"]
    x = torch.rand(4, 5)
    assert back.config == vae.config
    assert torch.equal(back.encode(x)[0], vae.encode(x)[0])


def test_damaged_priors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="no priors there"):
        load_decoders(tmp_path)
    save_priors(tmp_path, {"pose": made()}, {})
    path = tmp_path / "priors.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(GeneratorError, match="SHA-256"):
        load_decoders(tmp_path)
    config = json.loads((tmp_path / "priors.json").read_text())
    (tmp_path / "priors.json").write_text(json.dumps(config | {"format": "other"}))
    with pytest.raises(GeneratorError, match="format is 'other'"):
        load_decoders(tmp_path)
