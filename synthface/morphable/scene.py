"""What a tile of samples looks like to the morphable model: every geometric label, computed when first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.errors import MorphableModelError
from synthface.factors.types import FactorBatch
from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import linear_to_srgb
from synthface.morphable.model import Factors, Mesh, MorphableModel
from synthface.morphable.rasterizer import Fragments, blend, rasterize

F32 = npt.NDArray[np.float32]

#: How far (dm) a landmark may lie behind what is seen at its pixel and still count as visible: about the depth that the
#: surface spans within one pixel of a 256² view at grazing angles.
VISIBILITY_TOLERANCE_DM = 0.03


class Scene:
    """The heads of a tile, seen by the camera at one size.

    Args:
        model: the morphable model.
        factors: λ of N samples.
        size_px: H = W of the labels.
        mesh: the heads, where they have been computed already.
        fine: what was rasterised at a multiple of `size_px`, where it has been already: visibility is read off it.
        device: where to compute.

    All results are NumPy arrays, first axis the sample, at `size_px`; pixel coordinates as in `camera`.
    """

    def __init__(
        self,
        model: MorphableModel,
        factors: FactorBatch,
        size_px: int,
        *,
        mesh: Mesh | None = None,
        fine: Fragments | None = None,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.factors = factors
        self.size_px = size_px
        self._device = device
        if mesh is not None:
            self.__dict__["mesh"] = mesh
        self._fine = fine

    def __len__(self) -> int:
        return len(self.factors)

    @property
    def basis(self) -> MorphableBasis:
        """The morphable model's data: names, parts, topology."""
        return self.model.basis

    @cached_property
    def mesh(self) -> Mesh:
        """The heads in the world frame."""
        with torch.no_grad():
            return self.model(Factors.of(self.factors, device=self._device))

    @cached_property
    def clip(self) -> Tensor:
        """(N, V, 4) projected vertices."""
        return camera.project(self.mesh.vertices)

    @cached_property
    def fragments(self) -> Fragments:
        """What is seen at each pixel's centre."""
        return rasterize(self.clip, self.model.faces, self.size_px, self.size_px)

    @cached_property
    def landmarks68_px(self) -> F32:
        """(N, 68, 2) pixel coordinates."""
        return self._landmarks(self.model.landmarks68)[0]

    @cached_property
    def landmarks68_visible(self) -> npt.NDArray[np.bool_]:
        """(N, 68) whether the landmark is inside the picture and nothing of the head hides it."""
        pixels, depth = self._landmarks(self.model.landmarks68)
        inside = ((pixels >= 0) & (pixels < self.size_px)).all(axis=2)
        zbuf = (self._fine or self.fragments).zbuf.cpu().numpy()
        finest = zbuf.shape[-1]
        column, row = np.moveaxis((pixels * (finest / self.size_px)).astype(np.int64), -1, 0)
        sample = np.arange(len(self))[:, None]
        # The farthest surface among the pixel and its neighbours: on a silhouette the centre may see something nearer.
        farthest = np.full(depth.shape, -np.inf, np.float32)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                seen = zbuf[sample, np.clip(row + dy, 0, finest - 1), np.clip(column + dx, 0, finest - 1)]
                farthest = np.where(seen < np.inf, np.maximum(farthest, seen), farthest)
        return inside & (depth <= farthest + VISIBILITY_TOLERANCE_DM)

    def vertices_px(self, vertices: npt.NDArray[np.intp]) -> F32:
        """(N, L, 2) pixel coordinates of some vertices."""
        return camera.to_pixels(self.mesh.vertices[:, vertices], self.size_px).cpu().numpy()

    def gaze(self, side: str) -> F32:
        """(N, 3) unit vectors along the optical axis of the subject's `left` or `right` eye, camera frame.

        Raises:
            MorphableModelError: the model has no eyeballs with a pupil of their own.
        """
        numbers = {name: n for n, name in enumerate(self.basis.part_names)}
        if f"pupil_{side}" not in numbers:
            raise MorphableModelError(
                f"morphable model {self.basis.name!r} has no part pupil_{side}: drop annotation gaze"
            )
        pupil = np.unique(self.basis.faces[self.basis.face_part == numbers[f"pupil_{side}"]])
        white = np.unique(self.basis.faces[self.basis.face_part == numbers[f"eye_white_{side}"]])
        vertices = self.mesh.vertices.cpu().numpy()
        axis = vertices[:, pupil].mean(axis=1) - vertices[:, white].mean(axis=1)
        return axis / np.linalg.norm(axis, axis=1, keepdims=True)

    @cached_property
    def landmarks_dense_px(self) -> F32:
        """(N, D, 2) pixel coordinates."""
        return self._landmarks(self.model.landmarks_dense)[0]

    @cached_property
    def head_mask(self) -> npt.NDArray[np.bool_]:
        """(N, H, W) whether the head is seen."""
        return (self.fragments.face_idx >= 0).cpu().numpy()

    @cached_property
    def face_mask(self) -> npt.NDArray[np.bool_]:
        """(N, H, W) the losses' region: facial skin, brows and lips; no neck, ears, eyeballs, mouth interior or scalp."""
        return self._of_faces(self.basis.face_mask, False)

    @cached_property
    def parts(self) -> npt.NDArray[np.uint8]:
        """(N, H, W) index into `basis.part_names`; 0 is background."""
        return self._of_faces(self.basis.face_part, 0)

    @cached_property
    def depth(self) -> F32:
        """(N, H, W) distance along the viewing axis in dm; 0 on the background."""
        zbuf = self.fragments.zbuf
        return torch.where(torch.isinf(zbuf), 0.0, zbuf).cpu().numpy().astype(np.float32)

    @cached_property
    def normals(self) -> F32:
        """(N, H, W, 3) unit normals in the camera frame (x right, y up, z to the viewer); 0 on the background."""
        fragments = self.fragments
        raw = blend(fragments.face_idx, fragments.bary, self.model.faces, self.mesh.normals)
        return torch.nn.functional.normalize(raw, dim=-1, eps=1e-12).cpu().numpy()

    @cached_property
    def albedo(self) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) the surface's colour without light, sRGB; black on the background."""
        fragments = self.fragments
        linear = blend(fragments.face_idx, fragments.bary, self.model.faces, self.mesh.albedo)
        return (linear_to_srgb(linear) * 255.0).round().to(torch.uint8).cpu().numpy()

    def _landmarks(self, vertices: Tensor) -> tuple[F32, F32]:
        """Pixel coordinates (N, L, 2) and depth (N, L) of vertices."""
        clip = camera.project(self.mesh.vertices[:, vertices])
        return camera.clip_to_pixels(clip, self.size_px).cpu().numpy(), clip[..., 3].cpu().numpy()

    def _of_faces(self, values: npt.NDArray[Any], background: int) -> npt.NDArray[Any]:
        """A per-triangle value at each pixel."""
        extended = np.append(values, np.asarray(background, values.dtype))
        return extended[self.fragments.face_idx.cpu().numpy()]
