"""How good a prior is, beside a Gaussian fitted to the same rows.

Source: Burda et al. 2016 (importance-weighted bound); Lopez-Paz and Oquab 2017 (classifier two-sample test); Naeem et al.
2020 (coverage).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthface.networks.vae import FactorVae


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution fitted to rows, in their standardised units.

    Args:
        mean, scale: of the standardisation, (size,).
        covariance: (size, size) of the standardised rows, slightly shrunk towards the identity.
    """

    mean: Tensor
    scale: Tensor
    covariance: Tensor

    @staticmethod
    def fit(rows: Tensor, mean: Tensor, scale: Tensor, *, shrinkage: float = 0.01) -> Gaussian:
        """Maximum likelihood, with a share of the identity mixed in so that it has an inverse."""
        size = rows.shape[1]
        covariance = torch.cov(((rows - mean) / scale).double().T).reshape(size, size)
        return Gaussian(mean, scale, (1 - shrinkage) * covariance + shrinkage * torch.eye(size, dtype=torch.float64))

    def draw(self, num: int, *, generator: torch.Generator) -> Tensor:
        """Rows (num, size) in λ's units."""
        factor = torch.linalg.cholesky(self.covariance)
        normal = torch.randn(num, len(self.mean), generator=generator, dtype=torch.float64)
        return self.mean + self.scale * (normal @ factor.T).float()

    def log_likelihood(self, rows: Tensor) -> float:
        """Mean log density of rows, in nats, of the standardised units."""
        standard = ((rows - self.mean) / self.scale).double()
        normal = torch.distributions.MultivariateNormal(torch.zeros(len(self.mean)).double(), self.covariance)
        return float(normal.log_prob(standard).mean())


@torch.no_grad()
def log_likelihood(vae: FactorVae, rows: Tensor, *, generator: torch.Generator, num_samples: int = 64) -> float:
    """Importance-weighted lower bound of the mean log density of rows (M, size), in nats, standardised units."""
    mean, log_variance = vae.encode(rows)
    deviation = (0.5 * log_variance).exp()
    weights = []
    for _ in range(num_samples):
        noise = torch.randn(mean.shape, generator=generator)
        z = mean + deviation * noise
        log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
        log_posterior = -0.5 * (noise.square() + log_variance + math.log(2 * math.pi)).sum(dim=1)
        weights.append(vae.log_likelihood(rows, vae.decode(z)) + log_prior - log_posterior)
    return float((torch.logsumexp(torch.stack(weights), dim=0) - math.log(num_samples)).mean())


@torch.no_grad()
def reconstruction(vae: FactorVae, rows: Tensor) -> dict[str, float]:
    """R² and root mean square error (standardised) of rows (M, size) decoded from their mean codes."""
    decoded = vae.decode(vae.encode(rows)[0])
    error = ((rows - decoded) / vae.scale).square().mean()
    total = ((rows - rows.mean(dim=0)) / vae.scale).square().mean()
    return {"r2": float(1 - error / total), "rmse": float(error.sqrt())}


def classifier_two_sample(real: Tensor, drawn: Tensor, *, seed: int, steps: int = 300) -> float:
    """Accuracy of a small network that tells real rows from drawn ones, on rows it hasn't seen; 0.5 is a perfect prior."""
    num = min(len(real), len(drawn))
    generator = torch.Generator().manual_seed(seed)
    pick = (torch.randperm(len(real), generator=generator)[:num], torch.randperm(len(drawn), generator=generator)[:num])
    rows = torch.cat([real[pick[0]], drawn[pick[1]]])
    labels = torch.cat([torch.ones(num), torch.zeros(num)])
    rows = (rows - rows.mean(dim=0)) / rows.std(dim=0).clamp_min(1e-6)
    order = torch.randperm(2 * num, generator=generator)
    train, test = order[: 2 * num // 2], order[2 * num // 2 :]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(rows.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-3)
    for _ in range(steps):
        index = train[torch.randint(len(train), (min(128, len(train)),), generator=generator)]
        loss = nn.functional.binary_cross_entropy_with_logits(net(rows[index])[:, 0], labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        right = (net(rows[test])[:, 0] > 0) == (labels[test] > 0.5)
    return float(right.float().mean())


def coverage(real: Tensor, drawn: Tensor, scale: Tensor, *, num_neighbours: int = 5) -> float:
    """Share of real rows with a drawn row nearer than their 5th nearest real one; near 1 for a prior that misses nothing."""
    real, drawn = real / scale, drawn / scale
    own = torch.cdist(real, real).kthvalue(min(num_neighbours + 1, len(real)), dim=1).values
    return float((torch.cdist(real, drawn).min(dim=1).values < own).float().mean())


def measure(vae: FactorVae, train: Tensor, held_out: Tensor, *, num_draws: int, seed: int) -> dict[str, object]:
    """Everything about one factor, the VAE beside the Gaussian.

    `vae_means` are decoded without their residual, as the paper does; `vae_draws` with it; `training_rows` shows what
    a perfect prior would reach.
    """
    generator = torch.Generator().manual_seed(seed)
    gaussian = Gaussian.fit(train, vae.mean, vae.scale)
    with torch.no_grad():
        z = torch.randn(num_draws, vae.config.z_size, generator=generator)
        means = vae.decode(z)
        drawn = vae.decode(z, residual=torch.randn(num_draws, vae.config.size, generator=generator))
    from_gaussian = gaussian.draw(num_draws, generator=generator)
    likelihoods = {
        "vae": log_likelihood(vae, held_out, generator=generator),
        "gaussian": gaussian.log_likelihood(held_out),
    }
    draws = {"vae_means": means, "vae_draws": drawn, "gaussian": from_gaussian, "training_rows": train}
    return {
        "num_train": len(train),
        "num_held_out": len(held_out),
        "decoder_s": float(vae.log_s.detach().exp()),
        "reconstruction": {"train": reconstruction(vae, train), "held_out": reconstruction(vae, held_out)},
        "held_out_log_likelihood_nats": likelihoods,
        "two_sample_accuracy": {name: classifier_two_sample(held_out, rows, seed=seed) for name, rows in draws.items()},
        "coverage": {name: coverage(held_out, rows[:num_draws], vae.scale) for name, rows in draws.items()},
    }
