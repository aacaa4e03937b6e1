"""Scaling, shifting, turning and mirroring pictures whose λ is known, and λ with them.

Coordinates are fractions of the camera's view from its middle, x right, y down; a canvas reaches `CANVAS_SHARE` / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.factors.pose import ROLL
from synthface.networks.mapping import LambdaSizes
from training.reconstruct.bank import CANVAS_SHARE
from training.reconstruct.recipe import Augmentation


@dataclass(frozen=True)
class Warp:
    """What is done to N pictures; mirroring comes first, then c ↦ scale · turn(c) + shift.

    Args:
        scale: (N,).
        turn_rad: (N,) counter-clockwise as seen.
        shift: (N, 2).
        is_mirrored: (N,).
    """

    scale: Tensor
    turn_rad: Tensor
    shift: Tensor
    is_mirrored: Tensor

    @staticmethod
    def none(num: int) -> Warp:
        """Nothing done."""
        return Warp(torch.ones(num), torch.zeros(num), torch.zeros(num, 2), torch.zeros(num, dtype=torch.bool))

    @staticmethod
    def draw(num: int, strength: Augmentation, *, mirror: float, rng: np.random.Generator) -> Warp:
        """Random ones: each uniform within its limit."""
        scale = np.exp(rng.uniform(-1, 1, num) * strength.zoom)
        turn = np.radians(rng.uniform(-1, 1, num) * strength.roll_deg)
        shift = rng.uniform(-1, 1, (num, 2)) * strength.shift
        return Warp(
            *(torch.from_numpy(x).float() for x in (scale, turn, shift)), torch.from_numpy(rng.random(num) < mirror)
        )

    @property
    def linear(self) -> Tensor:
        """(N, 2, 2) scale and turn, without mirroring."""
        c, s = self.scale * self.turn_rad.cos(), self.scale * self.turn_rad.sin()
        return torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)  # y points down

    def points(self, centred: Tensor) -> Tensor:
        """Where points (N, L, 2) go."""
        sign = torch.where(self.is_mirrored, -1.0, 1.0)[:, None, None] * torch.tensor([1.0, 0.0])
        flipped = centred * (sign + torch.tensor([0.0, 1.0]))
        return flipped @ self.linear.transpose(1, 2) + self.shift[:, None]

    def pictures(self, canvas: Tensor, size_px: int, *, padding_mode: str = "border") -> Tensor:
        """Views (N, C, size, size) of canvases (N, C, s, s)."""
        inverse = torch.linalg.inv(self.linear)
        # affine_grid's coordinates run from −1 to 1: a centred fraction c is 2c in the view, 2c / CANVAS_SHARE on the canvas.
        offset = -(inverse @ self.shift[:, :, None]) * 2.0
        theta = torch.cat([inverse, offset], dim=2) / CANVAS_SHARE
        theta[self.is_mirrored, 0] *= -1.0
        grid = F.affine_grid(theta, [len(canvas), 1, size_px, size_px], align_corners=False)
        return F.grid_sample(canvas, grid, padding_mode=padding_mode, align_corners=False)

    def factors(self, vector: Tensor, view: Tensor, sizes: LambdaSizes, mirror: Tensor) -> tuple[Tensor, Tensor]:
        """λ (N, total) and view (N, 3) of the changed pictures; `mirror` is `training.mirror.mirror_matrix`."""
        vector = torch.where(self.is_mirrored[:, None], vector @ mirror, vector)
        sh = vector[:, sizes.parts["sh"]].reshape(-1, 3, 9)
        turned = torch.einsum("nkl,ncl->nck", turn_light(self.turn_rad), sh).flatten(1)
        pose = vector[:, sizes.parts["pose_rad"]]
        roll = pose[:, ROLL : ROLL + 1] + self.turn_rad[:, None]
        vector = torch.cat([vector[:, : sizes.parts["sh"].start], turned, pose[:, :ROLL], roll], dim=1)
        where = self.points(view[:, None, 1:])[:, 0]
        return vector, torch.cat([view[:, :1] + self.scale.log()[:, None], where], dim=1)


def turn_light(angle_rad: Tensor) -> Tensor:
    """Matrices (N, 9, 9) that turn lighting coefficients about the viewing axis, counter-clockwise as seen.

    Within a band the coefficients of (−x, −y) and of (−xz, −yz) turn by the angle, those of (xy, x² − y²) by twice it.
    """
    matrix = torch.eye(9).repeat(len(angle_rad), 1, 1)
    # Order: 1, −y, z, −x, xy, −yz, 3z²−1, −xz, x²−y². Pairs (cosine-like, sine-like) and their frequency.
    for cosine, sine, frequency in ((3, 1, 1), (7, 5, 1), (8, 4, 2)):
        c, s = torch.cos(frequency * angle_rad), torch.sin(frequency * angle_rad)
        matrix[:, cosine, cosine], matrix[:, cosine, sine] = c, -s
        matrix[:, sine, cosine], matrix[:, sine, sine] = s, c
    return matrix
