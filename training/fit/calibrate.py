"""What photos say about the model as a whole: where their detector puts each landmark, and what their mean face is.

Without it the difference between the mean head and the mean person would be explained anew in every photo, by actions that
nobody makes: lowered brows in nine photos of ten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from synthface.morphable.basis import MorphableBasis
from synthface.morphable.camera import DISTANCE_DM, focal_px
from synthface.morphable.model import rotation_matrix
from training.fit.correspondence import Correspondence, drop_onto_surface
from training.fit.geometry import Geometry, GeometryFit, GeometrySettings
from training.photos.align import FRAME_PX

#: Photos turned further than this say nothing about where a landmark lies across the face.
_FRONTAL_RAD = 0.2


def calibrate(
    basis: MorphableBasis,
    correspondence: Correspondence,
    landmarks_px: Tensor,
    *,
    settings: GeometrySettings,
    rounds: int = 4,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Correspondence, Tensor]:
    """The correspondence and the mean shape (Ks,) that suit the photos with landmarks (N, L, 2), px of the frame."""
    centre = torch.zeros(basis.num_shape)
    quick = replace(settings, iterations=14)
    for number in range(rounds):
        fitted = GeometryFit(basis, correspondence, quick, centre=centre).fit(landmarks_px)
        # Every photo is pulled to the old centre: going on in the mean's direction undoes the pull.
        centre = centre + 1.5 * (fitted.shape.mean(dim=0) - centre)
        moved = _mean_residual(fitted, landmarks_px)
        correspondence = _move(basis, correspondence, centre, moved)
        report(
            f"calibration {number + 1}/{rounds}: residual {fitted.residual_px.mean():.2f} px, "
            f"systematic {moved.norm(dim=-1).mean() * focal_px(FRAME_PX) / DISTANCE_DM:.2f} px, "
            f"|mean shape| {centre.norm():.2f}"
        )
    return correspondence, centre


def _mean_residual(fitted: Geometry, landmarks_px: Tensor) -> Tensor:
    """How far the detector's landmarks lie from the model's (L, 2) on the whole, head frame x and y, dm."""
    frontal = fitted.pose_rad[:, :2].abs().amax(dim=1) < _FRONTAL_RAD
    residual = (landmarks_px - fitted.landmarks_px)[frontal]
    per_dm = focal_px(FRAME_PX) / DISTANCE_DM * fitted.view[frontal, 0].exp()
    world = residual * torch.tensor([1.0, -1.0]) / per_dm[:, None, None]
    turn = rotation_matrix(fitted.pose_rad[frontal])[:, :2, :2]
    return (world @ turn).median(dim=0).values


def _move(basis: MorphableBasis, correspondence: Correspondence, centre: Tensor, moved: Tensor) -> Correspondence:
    """The correspondence with its landmarks moved by (L, 2) on the surface of the head `centre`."""
    head = basis.mean_shape + np.tensordot(centre.numpy(), basis.shape_basis, axes=1)
    points = correspondence.on(torch.from_numpy(head).float()[None])[0].double().numpy()
    points[:, :2] += moved.double().numpy()
    vertices, weights = drop_onto_surface(points, head, basis)
    return replace(correspondence, vertices=vertices, weights=weights)
