"""PyTorch3D's rasteriser behind our own call; optional, and not on PyPI: install it from its source for your torch.

pip install "git+https://github.com/facebookresearch/pytorch3d.git@stable"
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from synthface.errors import MissingExtraError
from synthface.morphable.rasterizer import Fragments


@cache
def is_available() -> bool:
    """Whether PyTorch3D can be imported and used here."""
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        return False
    return True


def rasterize(verts_clip: Tensor, faces: Tensor, height: int, width: int, *, cull: bool) -> Fragments:
    """See `rasterizer.rasterize`. PyTorch3D's axes point left and up, and its depth is ours.

    Raises:
        MissingExtraError: PyTorch3D isn't installed or doesn't work here.
    """
    if not is_available():
        raise MissingExtraError(
            "pytorch3d (from source, see its INSTALL.md)", "pytorch3d", "the rasteriser backend `pytorch3d`"
        )
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    with torch.no_grad():
        depth = verts_clip[..., 3:4]
        # The shorter side spans [−1, 1] there.
        aspect = torch.tensor([width, height], device=verts_clip.device) / min(width, height)
        ndc = verts_clip[..., :2] / depth * aspect
        points = torch.cat([-ndc[..., :1], ndc[..., 1:2], depth], dim=-1)
        meshes = Meshes(points, faces.expand(len(points), -1, -1))
        face_idx, zbuf, bary, _ = rasterize_meshes(
            meshes, image_size=(height, width), blur_radius=0.0, faces_per_pixel=1, perspective_correct=True,
            clip_barycentric_coords=False, cull_backfaces=cull,
        )  # fmt: skip
    face_idx, zbuf, bary = face_idx[..., 0], zbuf[..., 0], bary[..., 0, :]
    empty = face_idx < 0
    # Their indices count on through the batch.
    local = torch.where(empty, -1, face_idx % len(faces))
    return Fragments(local, bary.masked_fill(empty[..., None], 0.0), zbuf.masked_fill(empty, torch.inf))
