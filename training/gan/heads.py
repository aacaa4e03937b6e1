"""What the bundled morphable model says of λ, without rendering: where landmarks lie, and how much each number shows."""

from __future__ import annotations

import torch
from torch import Tensor

from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import rotation_matrix
from synthface.networks.mapping import LambdaSizes


def project_landmarks(vector: Tensor, sizes: LambdaSizes) -> Tensor:
    """Where the bundled morphable model's 68 landmarks lie in the picture of λ (N, total): (N, 68, 2), fractions of it."""
    basis, factors = MorphableBasis.load(), sizes.unpack(vector)
    index = basis.landmarks68
    mean, shape, expression = (
        torch.as_tensor(a)
        for a in (basis.mean_shape[index], basis.shape_basis[:, index], basis.expression_basis[:, index])
    )
    head = (
        mean
        + torch.einsum("nk,klc->nlc", factors.shape, shape)
        + torch.einsum("nk,klc->nlc", factors.expression, expression)
    )
    return camera.to_pixels(head @ rotation_matrix(factors.pose_rad).transpose(1, 2), 1)


def by_sight(vector: Tensor, sizes: LambdaSizes) -> Tensor:
    """How much each number of λ shows (total,): for shape and albedo the root of what it moves or colours the head, else 1.

    The root, because what tells people apart is also in what shows little. Shape and albedo each have a mean square of 1.

    Args:
        vector: (N, total) λ of photos, which say how far each number varies.
        sizes: of λ.
    """
    basis, spread = MorphableBasis.load(), vector.std(dim=0, unbiased=False)
    shown = torch.ones(sizes.total, device=vector.device)
    for name, components in (("shape", basis.shape_basis), ("albedo", basis.albedo_basis)):
        place = sizes.parts[name]
        norm = torch.as_tensor(components[: place.stop - place.start]).flatten(1).norm(dim=1).to(vector)
        root = (norm * spread[place]).sqrt()
        root = root / root.square().mean().sqrt().clamp_min(1e-12)
        # What never varies in the photos still has a direction: it stays faintly audible.
        shown[place] = root.clamp_min(0.1)
    return shown
