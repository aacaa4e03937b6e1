"""Points of a morphable model in a picture: from shape, expression and pose through the camera to where the view puts them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import rotation_matrix


class Points(nn.Module):
    """Some points of a morphable model: where they are in a picture, from λ and view.

    Args:
        mean: (L, 3) on the mean head, dm.
        shape_basis, expression_basis: (Ks, L, 3) and (Ke, L, 3).
    """

    mean: Tensor
    linear: Tensor

    def __init__(self, mean: Tensor, shape_basis: Tensor, expression_basis: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("linear", torch.cat([shape_basis, expression_basis]).flatten(1))

    @staticmethod
    def of(basis: MorphableBasis, vertices: npt.NDArray[np.integer]) -> Points:
        """The points at some vertices (L,)."""
        arrays = (basis.mean_shape[vertices], basis.shape_basis[:, vertices], basis.expression_basis[:, vertices])
        return Points(*(torch.from_numpy(array) for array in arrays))

    def on_head(self, shape: Tensor, expression: Tensor) -> Tensor:
        """(N, L, 3) in the head's frame, dm."""
        offset = torch.cat([shape, expression], dim=1) @ self.linear
        return self.mean + offset.reshape(len(shape), -1, 3)

    def forward(self, shape: Tensor, expression: Tensor, pose_rad: Tensor, view: Tensor) -> Tensor:
        """(N, L, 2) fractions of the picture."""
        return in_picture(self.on_head(shape, expression) @ rotation_matrix(pose_rad).transpose(1, 2), view)


def in_picture(points: Tensor, view: Tensor) -> Tensor:
    """Points (N, L, 3) of the world in the picture (N, L, 2), fractions; view (N, 3) as in `Reconstructed`."""
    own = camera.to_pixels(points, 1) - 0.5
    return view[:, None, :1].exp() * own + 0.5 + view[:, None, 1:]
