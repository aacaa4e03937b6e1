"""The losses: against λ that is known or was fitted, and against the photo itself.

Source: Deng et al. 2019, CVPRW, Sec. 3.1–3.2 (photometric in the skin region, landmarks, perceptual identity, coefficient
regularisation). We deviate: photometric error is taken at the face's vertices, so nothing is rasterised, and in sRGB; what
isn't skin is left out by its error rather than by a skin classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.factors.lighting import CONSTANTS, LAMBERT
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import linear_to_srgb, shading
from synthface.morphable.model import Factors, rotation_matrix
from synthface.networks.mapping import LambdaSizes
from synthface.networks.points import Points, in_picture
from synthface.networks.reconstruction import Reconstructed, Reconstruction
from training.fit.correspondence import FILE, Correspondence

#: Between the outer corners of the mean head's eyes, dm: what landmark errors are over.
EYES_DM = 0.922
#: Photometric error (sRGB, L2 over channels) at which a vertex has half its say.
_ROBUST = 0.2


class FaceColours(nn.Module):
    """The face's vertices: where they are in a picture, what colour they should have there, and how well they are seen."""

    faces: Tensor
    mean_albedo: Tensor
    albedo_basis: Tensor

    def __init__(self, basis: MorphableBasis) -> None:
        super().__init__()
        vertices = basis.face_vertices
        place = np.full(basis.num_vertices, -1)
        place[vertices] = np.arange(len(vertices))
        self.points = Points.of(basis, vertices)
        self.register_buffer("faces", torch.from_numpy(place[basis.faces[basis.face_mask]]))
        self.register_buffer("mean_albedo", torch.from_numpy(basis.mean_albedo[vertices]))
        self.register_buffer("albedo_basis", torch.from_numpy(basis.albedo_basis[:, vertices]).flatten(1))

    def forward(self, factors: Factors, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places (N, V_f, 2) in fractions, colours (N, V_f, 3) in sRGB [0, 1], cosines (N, V_f) to the viewing ray."""
        head = self.points.on_head(factors.shape, factors.expression)
        world = head @ rotation_matrix(factors.pose_rad).transpose(1, 2)
        normals = self._normals(world)
        offset = (factors.albedo @ self.albedo_basis).reshape(len(world), -1, 3)
        lit = (self.mean_albedo + offset).clamp(0, 1) * shading(normals, factors.sh)
        ray = F.normalize(world.new_tensor([0.0, 0.0, camera.DISTANCE_DM]) - world, dim=-1)
        return in_picture(world, view), linear_to_srgb(lit), (normals * ray).sum(-1)

    def _normals(self, world: Tensor) -> Tensor:
        a, b, c = (world[:, self.faces[:, k]] for k in range(3))
        across = torch.linalg.cross(b - a, c - a, dim=-1)
        summed = torch.zeros_like(world)
        for k in range(3):
            summed = summed.index_add(1, self.faces[:, k], across)
        return F.normalize(summed, dim=-1, eps=1e-12)


def detector_points(basis: MorphableBasis, num_landmarks: int, calibration: Path | None = None) -> Points | None:
    """A detector's landmarks on the mesh, by how many it gives: 468 of the face mesh, 68 of iBUG; None for others.

    Args:
        basis: the morphable model.
        num_landmarks: 468 say.
        calibration: a correspondence that suits photos better than the one found on renderings; `fit` writes it.
    """
    if num_landmarks == 468:
        file = calibration if calibration is not None and calibration.is_file() else FILE
        correspondence = Correspondence.load(file)
        arrays = (basis.mean_shape[None], basis.shape_basis, basis.expression_basis)
        mean, shape, expression = (correspondence.on(torch.from_numpy(array)) for array in arrays)
        return Points(mean[0], shape, expression)
    return Points.of(basis, basis.landmarks68) if num_landmarks == 68 else None


def eye_distance(view: Tensor) -> Tensor:
    """(N,) between the outer corners of the mean head's eyes, seen from the front at this zoom; fraction of the picture."""
    return EYES_DM * camera.FOCAL_PER_PIXEL / camera.DISTANCE_DM * view[:, 0].exp()


def landmark_error(found: Tensor, true: Tensor, view: Tensor) -> Tensor:
    """(N,) mean distance of landmarks (N, L, 2) over the eyes' distance: NME, not foreshortened where the head is turned."""
    return torch.linalg.vector_norm(found - true, dim=-1).mean(dim=1) / eye_distance(view)


def component_weights(basis: MorphableBasis) -> Mapping[str, Tensor]:
    """How much each identity coefficient counts, mean 1: half for all alike, half by what it does to the face."""
    weights = {}
    for name in ("shape", "albedo"):
        energy = torch.from_numpy(getattr(basis, f"{name}_basis")[:, basis.face_vertices]).square().sum(dim=(1, 2))
        weights[name] = 0.5 + 0.5 * energy / energy.mean().clamp_min(1e-12)
    return weights


def known(
    network: Reconstruction,
    numbers: Tensor,
    read: Reconstructed,
    vector: Tensor,
    view: Tensor,
    components: Mapping[str, Tensor],
    face: Points,
) -> Mapping[str, Tensor]:
    """Errors (N,) of each kind against λ (N, total) and view (N, 3).

    Args:
        network, numbers, read: the network, its numbers, and what they decode to.
        vector, view: the truth.
        components: see `component_weights`.
        face: points all over the face, on which shape and expression are compared without pose.
    """
    sizes = network.sizes
    parts = sizes.parts
    difference = numbers[:, : sizes.total] - (vector - network.mean) / network.scale
    true = sizes.unpack(vector)
    landmarks = network.points(true.shape, true.expression, true.pose_rad, view)
    logits = network.logits(numbers)[:, parts["expression"]]
    # In radians over 10°, whatever the spread: a few degrees count as much near the front as at the side.
    pose = (read.vector - vector)[:, parts["pose_rad"]] / 0.175
    found = sizes.unpack(read.vector)
    apart = face.on_head(found.shape, found.expression) - face.on_head(true.shape, true.expression)
    assert read.view is not None
    return {
        "face": torch.linalg.vector_norm(apart, dim=-1).mean(dim=1) / EYES_DM,
        "pose": F.smooth_l1_loss(pose, torch.zeros_like(pose), beta=0.1, reduction="none").mean(1),
        "view": F.smooth_l1_loss(
            read.view / network.view_scale, view / network.view_scale, beta=0.1, reduction="none"
        ).mean(1),
        "shape": (difference[:, parts["shape"]].square() * components["shape"]).mean(1),
        "albedo": (difference[:, parts["albedo"]].square() * components["albedo"]).mean(1),
        "expression": F.binary_cross_entropy_with_logits(logits, true.expression, reduction="none").mean(1),
        "sh": _huber(difference[:, parts["sh"]], 1.0).mean(1),
        "band": _huber(2 * (_first_band(read.vector[:, parts["sh"]]) - _first_band(vector[:, parts["sh"]])), 1.0).sum(
            1
        ),
        "landmarks": landmark_error(read.landmarks, landmarks, view),
    }


def photometric(colours: FaceColours, factors: Factors, view: Tensor, photos: Tensor) -> Tensor:
    """Mean error (sRGB, L2 over channels) of the face's vertices against photos (N, 3, H, W), a number."""
    places, colour, cosine = colours(factors, view)
    seen = F.grid_sample(photos * 0.5 + 0.5, places[:, :, None] * 2 - 1, align_corners=False, padding_mode="border")
    error = torch.linalg.vector_norm(seen[..., 0].transpose(1, 2) - colour + 1e-6, dim=-1)
    inside = ((places > 0) & (places < 1)).all(dim=-1)
    weight = ((cosine - 0.15).clamp_min(0) * inside / (1 + (error / _ROBUST) ** 2)).detach()
    return (weight * error).sum() / weight.sum().clamp_min(1e-6)


def prior(numbers: Tensor, sizes: LambdaSizes) -> Tensor:
    """Mean square of the identity coefficients, in the network's own units."""
    identity = numbers[:, sizes.parts["shape"].start : sizes.parts["albedo"].stop]
    return identity.square().mean()


def _first_band(sh: Tensor) -> Tensor:
    """(N, 3) first band over constant, as irradiance, in luminance, of lights (N, 27): where light comes from, and how much."""
    weighted = sh.reshape(-1, 3, 9)[..., :4] * sh.new_tensor((LAMBERT * CONSTANTS)[:4])
    luminance = weighted.transpose(1, 2) @ sh.new_tensor([0.2126, 0.7152, 0.0722])
    return luminance[:, 1:] / luminance[:, :1].clamp_min(0.1)


def _huber(difference: Tensor, beta: float) -> Tensor:
    return F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=beta, reduction="none")
