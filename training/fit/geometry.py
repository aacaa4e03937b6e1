"""Pose, crop, shape and expression from landmarks: Gauss–Newton for a whole batch of photos at once.

    min  τ Σ_l ρ(|q_l(θ, k, d, α, β) − p_l|² / σ_l²) + |α|² + λ₁ Σ β + λ₂ |β|²,   0 ≤ β ≤ 1

with q the projected landmark of the mesh, scaled by k and moved by d in the picture (the crop), and ρ Geman–McClure's. Few
actions at once: β is kept from being negative and pays by its sum, so that a face that identity explains stays at rest.

Source: the energy is Blanz and Vetter 1999's with landmarks only; the gauge is `Expression against identity` in the notes
that came with the portraits: identity has the actions' span taken out around mouth and eyes when the model is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from synthface.morphable.basis import MorphableBasis
from synthface.morphable.camera import DISTANCE_DM, focal_px
from synthface.morphable.model import rotation_matrix
from training.fit.correspondence import Correspondence
from training.photos.align import FRAME_PX

#: Actions that landmarks of the face's surface say nothing reliable about.
UNSEEN = ("eye_look_", "tongue_out", "mouth_close", "cheek_puff", "jaw_forward")


@dataclass(frozen=True)
class GeometrySettings:
    """Weights of the energy.

    Args:
        sigma_px: landmark noise, px of the frame; the correspondence's own scatter is added.
        evidence: τ; neighbouring landmarks err together, so that 468 of them count for fewer.
        sparsity: λ₁.
        ridge: λ₂.
        iterations: Gauss–Newton steps.
        robust_px: residuals beyond this lose weight.
    """

    sigma_px: float = 1.2
    evidence: float = 0.3
    sparsity: float = 8.0
    ridge: float = 2.0
    iterations: int = 25
    robust_px: float = 8.0


class Geometry(NamedTuple):
    """What was fitted to N photos.

    Args:
        shape: (N, Ks).
        expression: (N, Ke) in [0, 1].
        pose_rad: (N, 3).
        view: (N, 3) log k, d_x, d_y: where the model's picture has to go in the photo's frame, px.
        landmarks_px: (N, L, 2) the model's landmarks in the photo's frame.
        residual_px: (N,) robust mean distance to the given ones, px of the frame.
    """

    shape: Tensor
    expression: Tensor
    pose_rad: Tensor
    view: Tensor
    landmarks_px: Tensor
    residual_px: Tensor


class GeometryFit:
    """Fits one morphable model to one kind of landmarks.

    Args:
        basis: the morphable model.
        correspondence: where the landmarks are on it.
        settings: weights.
        frozen: prefixes of actions that stay at 0.
        centre: (Ks,) the shape that identities are drawn to; None is the mean head.
    """

    def __init__(
        self,
        basis: MorphableBasis,
        correspondence: Correspondence,
        settings: GeometrySettings | None = None,
        frozen: Sequence[str] = UNSEEN,
        centre: Tensor | None = None,
    ) -> None:
        self.settings = settings or GeometrySettings()
        at = [torch.as_tensor(a).float() for a in (basis.mean_shape, basis.shape_basis, basis.expression_basis)]
        self.mean = correspondence.on(at[0][None])[0]
        self.linear = torch.cat([correspondence.on(at[1]), correspondence.on(at[2])])  # (K, L, 3)
        self.num_shape, self.num_expression = basis.num_shape, basis.num_expression
        self.free = torch.tensor([not name.startswith(tuple(frozen)) for name in basis.expression_names])
        self.centre = torch.zeros(basis.num_shape) if centre is None else centre
        scatter_px = torch.from_numpy(correspondence.deviation_dm) * focal_px(FRAME_PX) / DISTANCE_DM
        # Most of the scatter comes from the detector being less sure of renderings than of photos.
        self.sigma = torch.sqrt(self.settings.sigma_px**2 + (0.25 * scatter_px) ** 2)

    def fit(self, landmarks_px: Tensor) -> Geometry:
        """Fit landmarks (N, L, 2) in px of the frame, whatever their crop."""
        settings, count = self.settings, len(landmarks_px)
        num_linear = len(self.linear)
        state = landmarks_px.new_zeros(count, 6 + num_linear)
        state[:, 3:6] = self._first_view(landmarks_px)
        for step in range(settings.iterations):
            # Pose and crop first, then identity, then everything: expressions must not explain a wrong pose.
            active = 6 if step < 4 else 6 + (self.num_shape if step < 7 else num_linear)
            state = self._step(state, landmarks_px, active)
        predicted = self.project(state)
        distance = (predicted - landmarks_px).norm(dim=-1)
        weight = self._robust(distance) / self.sigma**2
        return Geometry(
            shape=state[:, 6 : 6 + self.num_shape],
            expression=state[:, 6 + self.num_shape :],
            pose_rad=state[:, :3],
            view=state[:, 3:6],
            landmarks_px=predicted,
            residual_px=(weight * distance).sum(-1) / weight.sum(-1),
        )

    def project(self, state: Tensor) -> Tensor:
        """Landmarks (N, L, 2) of states (N, 6 + K), px of the photo's frame."""
        return self._image(state[:, 3:6], self._picture(self._head(state) @ self._turn(state))[0])

    def _head(self, state: Tensor) -> Tensor:
        return self.mean + torch.einsum("nk,klc->nlc", state[:, 6:], self.linear)

    @staticmethod
    def _turn(state: Tensor) -> Tensor:
        return rotation_matrix(state[:, :3]).transpose(1, 2)

    @staticmethod
    def _picture(world: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets from the picture's middle (N, L, 2) in px, y down, and their derivative by the point (N, L, 2, 3)."""
        depth = DISTANCE_DM - world[..., 2]
        factor = focal_px(FRAME_PX) / depth
        x, y = world[..., 0] * factor, -world[..., 1] * factor
        nothing = torch.zeros_like(x)
        by_point = torch.stack(
            [torch.stack([factor, nothing, x / depth], -1), torch.stack([nothing, -factor, y / depth], -1)], -2
        )
        return torch.stack([x, y], -1), by_point

    @staticmethod
    def _image(view: Tensor, offsets: Tensor) -> Tensor:
        return view[:, None, :1].exp() * offsets + view[:, None, 1:] + FRAME_PX / 2

    def _first_view(self, landmarks_px: Tensor) -> Tensor:
        offsets = self._picture(self.mean[None])[0]
        model, seen = offsets - offsets.mean(1, keepdim=True), landmarks_px - landmarks_px.mean(1, keepdim=True)
        scale = (seen.square().sum((1, 2)) / model.square().sum((1, 2))).sqrt()
        shift = landmarks_px.mean(1) - FRAME_PX / 2 - scale[:, None] * offsets.mean(1)
        return torch.cat([scale.log()[:, None], shift], dim=1)

    def _robust(self, distance: Tensor) -> Tensor:
        return (1 + (distance / self.settings.robust_px) ** 2) ** -2

    def _jacobian(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (N, L, 2) and their derivative (N, L, 2, 6 + K)."""
        head, turn = self._head(state), self._turn(state)
        offsets, by_point = self._picture(head @ turn)
        turned = torch.einsum("naij,nlj->nlia", _by_angle(state[:, :3]), head)
        by_point = state[:, 3:4].exp()[:, None, None] * by_point
        # What a move of the head's own point does in the picture, then the bases: small products first.
        by_linear = torch.einsum("nlpj,klj->nlpk", by_point @ turn.transpose(1, 2)[:, None], self.linear)
        by_view = torch.zeros(*offsets.shape, 3, dtype=offsets.dtype)
        by_view[..., 0] = state[:, 3:4].exp()[:, None] * offsets
        by_view[:, :, 0, 1] = by_view[:, :, 1, 2] = 1.0
        jacobian = torch.cat([by_point @ turned, by_view, by_linear], dim=-1)
        return self._image(state[:, 3:6], offsets), jacobian

    def _step(self, state: Tensor, landmarks_px: Tensor, active: int) -> Tensor:
        settings = self.settings
        predicted, jacobian = self._jacobian(state)
        residual = predicted - landmarks_px
        weight = settings.evidence * self._robust(residual.norm(dim=-1)) / self.sigma**2
        weighted = (jacobian * weight[..., None, None]).flatten(1, 2)
        hessian = weighted.transpose(1, 2) @ jacobian.flatten(1, 2)
        gradient = torch.einsum("nrk,nr->nk", weighted, residual.flatten(1))
        prior, pull = torch.zeros(state.shape[1]), torch.zeros(state.shape[1])
        prior[:6] = 1e-4
        prior[6 : 6 + self.num_shape] = 1.0
        prior[6 + self.num_shape :] = settings.ridge
        pull[6 + self.num_shape :] = 0.5 * settings.sparsity
        hessian = hessian + torch.diag(prior)
        from_prior = torch.cat([torch.zeros(6), self.centre, torch.zeros(self.num_expression)])
        prior[:6] = 0.0
        gradient = gradient + prior * (state - from_prior) + pull
        return self._bounded(state, hessian, gradient, active)

    def _bounded(self, state: Tensor, hessian: Tensor, gradient: Tensor, active: int) -> Tensor:
        """A Newton step with 0 ≤ β ≤ 1: coordinates that push against their bound are held, twice over."""
        low, high = torch.full_like(state, -torch.inf), torch.full_like(state, torch.inf)
        low[:, 6 + self.num_shape :], high[:, 6 + self.num_shape :] = 0.0, self.free.float()
        held = ((state <= low) & (gradient > 0)) | ((state >= high) & (gradient < 0))
        held[:, active:] = True
        for _ in range(3):
            keep = (~held).to(state)
            matrix = hessian * keep[:, :, None] * keep[:, None, :] + torch.diag_embed(held.to(state))
            step = -torch.linalg.solve(matrix, gradient * keep)
            reached = state + step
            crossing = ((reached < low) | (reached > high)) & ~held
            if not crossing.any():
                break
            # Go to the bound and stay there; the others are solved for again.
            target = reached.clamp(low, high)
            jump = torch.where(crossing, target - state, torch.zeros_like(state))
            gradient = gradient + torch.einsum("nij,nj->ni", hessian, jump)
            state = state + jump
            held = held | crossing
        step = torch.where(held, torch.zeros_like(step), step)
        return (state + step).clamp(low, high)


def _by_angle(pose_rad: Tensor) -> Tensor:
    """Derivatives (N, 3, 3, 3) of R_z R_y R_x by pitch, yaw and roll: the axis' cross product stands beside its rotation."""
    turn = rotation_matrix(pose_rad)
    roll_only = torch.zeros_like(pose_rad)
    roll_only[:, 2] = pose_rad[:, 2]
    roll = rotation_matrix(roll_only)
    x, y, z = (torch.linalg.cross(torch.eye(3), axis.expand(3, 3), dim=-1) for axis in torch.eye(3))
    return torch.stack([turn @ x, roll @ y @ roll.transpose(1, 2) @ turn, z @ turn], dim=1)
