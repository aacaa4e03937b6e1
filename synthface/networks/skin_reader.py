"""Light and skin, read off the face's own colours once it is known where the face is.

The face's shape, expression and pose say where some hundred points of it are in the picture and which way they look. Their
colours there, against the mean albedo, give the light by a small least-squares problem with a prior, solved twice: the second
time, points that the first light explains badly (hair, glasses, shadow) count for less. What is left over is skin. A small
network corrects both. Everything is differentiable with respect to the picture.

Source: the linear problem by Ramamoorthi and Hanrahan 2001, Eq. 10, for a known albedo; the correction is ours.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.factors.lighting import CONSTANTS, LAMBERT
from synthface.morphable import camera
from synthface.morphable.lighting import sh_basis, srgb_to_linear
from synthface.morphable.model import rotation_matrix
from synthface.networks.points import in_picture

#: Of a point's colour given its albedo's mean, as a share of it: what skins differ in, and the points of one skin alike.
_SPREAD = 0.25
#: So many points say as much as the face's do together, since neighbours' errors are alike.
_INDEPENDENT_POINTS = 30.0
#: Seen flatter than this cosine, a point says nothing.
_FLATTEST = 0.15
#: The picture is averaged down to about this size before colours are taken, px.
_COLOURS_PX = 64


@dataclass(frozen=True)
class SkinReaderConfig:
    """A reader's sizes.

    Args:
        points: P, points on the face.
        width: of the correcting network's two layers.
    """

    points: int = 320
    width: int = 320

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


class Anatomy(NamedTuple):
    """What the reader must know of P points of a morphable model.

    Args:
        mean: (P, 3) on the mean head, dm.
        linear: (Ks + Ke, 3P) what shape and expression add to it.
        normals: (P, 3) of the mean head.
        albedo: (P, 3) mean, linear RGB.
        is_skin: (P,) 1 where there's plain skin, 0 on lips and brows.
    """

    mean: Tensor
    linear: Tensor
    normals: Tensor
    albedo: Tensor
    is_skin: Tensor

    @staticmethod
    def empty(num_points: int, num_coefficients: int) -> Anatomy:
        """To be filled from a file."""
        three = torch.zeros(num_points, 3)
        return Anatomy(
            three, torch.zeros(num_coefficients, 3 * num_points), three.clone(), three.clone(), three[:, 0].clone()
        )


class SkinReader(nn.Module):
    """Numbers of light and skin.

    Args:
        config: sizes.
        anatomy: of the points.
        num_albedo: Kt.
    """

    mean: Tensor
    linear: Tensor
    normals: Tensor
    albedo: Tensor
    is_skin: Tensor

    def __init__(self, config: SkinReaderConfig, anatomy: Anatomy, num_albedo: int) -> None:
        super().__init__()
        self.config, self.num_albedo = config, num_albedo
        for name, value in anatomy._asdict().items():
            self.register_buffer(name, value)
        inputs = 6 * config.points + config.points + 27 + 6
        self.correct = nn.Sequential(
            nn.Linear(inputs, config.width),
            nn.LeakyReLU(0.1),
            nn.Linear(config.width, config.width),
            nn.LeakyReLU(0.1),
            nn.Linear(config.width, num_albedo + 27),
        )

    def forward(
        self, images: Tensor, coefficients: Tensor, pose_rad: Tensor, view: Tensor, light: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Numbers (N, Kt + 27), in units of the training λ's spread.

        Args:
            images: (N, 3, s, s) in [−1, 1].
            coefficients: (N, Ks + Ke) of shape and expression; with `pose_rad` and `view` taken as they are, without gradient.
            pose_rad: (N, 3).
            view: (N, 3) as in `Reconstructed`.
            light: (27,) mean and (27,) spread of the training lights.
        """
        coefficients, pose_rad, view = coefficients.detach(), pose_rad.detach(), view.detach()
        colours, normals, weight = self._seen(images, coefficients, pose_rad, view)
        numbers, shade = self._light(colours, normals, weight * self.is_skin, light)
        left = torch.log((colours + 0.02) / (self.albedo * shade + 0.02)).clamp(-2.5, 2.5)
        rest = [(left * weight[..., None]).flatten(1), colours.flatten(1), weight, numbers, pose_rad, view]
        correction: Tensor = self.correct(torch.cat(rest, dim=1))
        return torch.cat(
            [correction[:, : self.num_albedo], correction[:, self.num_albedo :] + numbers.clamp(-4, 4)], dim=1
        )

    def _seen(
        self, images: Tensor, coefficients: Tensor, pose_rad: Tensor, view: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Linear colours (N, P, 3), normals (N, P, 3) and how well each point is seen (N, P), in [0, 1]."""
        times = max(1, round(images.shape[-1] / _COLOURS_PX))
        small = F.avg_pool2d(images, times) * 0.5 + 0.5
        turn = rotation_matrix(pose_rad).transpose(1, 2)
        world = (self.mean + (coefficients @ self.linear).reshape(len(images), -1, 3)) @ turn
        normals = self.normals @ turn
        places = in_picture(world, view)
        seen = F.grid_sample(small, places[:, :, None] * 2 - 1, align_corners=False, padding_mode="border")
        ray = F.normalize(world.new_tensor([0.0, 0.0, camera.DISTANCE_DM]) - world, dim=-1)
        facing = (((normals * ray).sum(-1) - _FLATTEST) / (1 - _FLATTEST)).clamp(0, 1)
        inside = ((places > 0) & (places < 1)).all(dim=-1)
        return srgb_to_linear(seen[..., 0].transpose(1, 2)), normals, facing * inside

    def _light(
        self, colours: Tensor, normals: Tensor, weight: Tensor, light: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Numbers (N, 27) of the light, and the shading (N, P, 3) it makes."""
        mean, spread = (value.reshape(3, 9) for value in light)
        basis = sh_basis(normals) * torch.as_tensor(LAMBERT, dtype=normals.dtype, device=normals.device)
        unit = torch.eye(9, dtype=colours.dtype, device=colours.device)
        trust = torch.ones_like(weight)
        size = (mean[:, 0].mean() * LAMBERT[0] * CONSTANTS[0]).clamp_min(0.1) * _SPREAD
        for _ in range(2):
            w = weight * trust
            w = w * (_INDEPENDENT_POINTS / w.sum(dim=1, keepdim=True).clamp_min(_INDEPENDENT_POINTS / 4))
            # Per channel: albedo · basis · (mean + spread · u) ≈ colour, errors in proportion to the albedo, u ~ N(0, 1).
            scaled = basis[:, None] * spread[None, :, None]  # (N, 3, P, 9)
            aim = colours / self.albedo.clamp_min(0.05) - torch.einsum("npk,ck->npc", basis, mean)
            weighted = scaled.transpose(2, 3) * (w / size**2)[:, None, None]  # (N, 3, 9, P)
            system, right = weighted @ scaled + unit, weighted @ aim.transpose(1, 2)[..., None]
            found = torch.linalg.solve(system, right)[..., 0]
            shade = torch.einsum("npk,nck->npc", basis, mean + spread * found).clamp_min(0.02)
            error = torch.log((colours + 0.02) / (self.albedo * shade + 0.02)).abs().mean(dim=-1)
            trust = 1 / (1 + (error.detach() / 0.5) ** 2)
        return found.flatten(1), shade


def farthest_points(points: Tensor, count: int) -> Tensor:
    """(count,) indices of points (V, 3) that are spread evenly: each the farthest from those before it."""
    chosen = [int(points[:, 2].argmax())]
    distance = torch.full((len(points),), math.inf)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(dim=1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen)
