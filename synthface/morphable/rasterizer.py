"""Which triangle covers which pixel: pure torch, on CPU and GPU, or PyTorch3D's kernels behind the same call.

Coverage is discrete and carries no gradient. `interpolate` computes the barycentric coordinates of the covered pixels
once more from the vertices, so that anything interpolated (colour, normals, positions) has exact gradients in both the
attributes and the geometry; the silhouette itself has none.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Backend = Literal["auto", "builtin", "pytorch3d"]

#: Candidate (triangle, pixel) pairs looked at in one go: bounds the memory at about 300 MB.
_MAX_CANDIDATES = 4_000_000
_DEPTH_LEVELS = float(2**31 - 2)


class Fragments(NamedTuple):
    """What is seen at each pixel's centre.

    Args:
        face_idx: (N, H, W) int64, the triangle, or −1 for the background.
        bary: (N, H, W, 3) perspective-correct barycentric coordinates; 0 on the background.
        zbuf: (N, H, W) depth along the viewing axis, dm; infinity on the background.
    """

    face_idx: Tensor
    bary: Tensor
    zbuf: Tensor


def rasterize(
    verts_clip: Tensor, faces: Tensor, height: int, width: int, *, cull: bool = True, backend: Backend = "builtin"
) -> Fragments:
    """Find the nearest triangle at every pixel centre.

    Args:
        verts_clip: (N, V, 4) clip coordinates as `camera.project` gives them (w = depth).
        faces: (F, 3) int64 vertex indices, shared by the batch; counter-clockwise from outside.
        height, width: of the image, px.
        cull: leave out triangles seen from behind.
        backend: `builtin`; `pytorch3d`, which needs that package; `auto` takes PyTorch3D on a GPU where it works.

    Returns:
        Fragments, detached from the graph. Samples don't influence one another: rasterizing one alone gives the same.

    Raises:
        MissingExtraError: `pytorch3d` was asked for and doesn't work here.
    """
    if backend != "builtin":
        import synthface.morphable.rasterizer_pytorch3d as pytorch3d

        if backend == "pytorch3d" or (verts_clip.is_cuda and pytorch3d.is_available()):
            return pytorch3d.rasterize(verts_clip, faces, height, width, cull=cull)
    with torch.no_grad():
        packed = torch.cat([_winners(sample, faces, height, width, cull) for sample in verts_clip.detach()])
        face_idx = packed.view(len(verts_clip), height, width)
        bary, depth = barycentric(face_idx, verts_clip.detach(), faces)
        zbuf = torch.where(face_idx >= 0, depth, torch.inf)
    return Fragments(face_idx, bary, zbuf)


def interpolate(fragments: Fragments, verts_clip: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Vertex attributes (N, V, C) at every pixel (N, H, W, C); 0 on the background. Differentiable in both tensors."""
    bary, _ = barycentric(fragments.face_idx, verts_clip, faces)
    return blend(fragments.face_idx, bary, faces, attributes)


def blend(face_idx: Tensor, bary: Tensor, faces: Tensor, attributes: Tensor) -> Tensor:
    """Σ_corner bary · attribute: attributes (N, V, C) at pixels (N, H, W, C) of known `bary` (N, H, W, 3)."""
    sample, row, column = torch.nonzero(face_idx >= 0, as_tuple=True)
    corners = faces[face_idx[sample, row, column]]  # (P, 3)
    flat = attributes.reshape(-1, attributes.shape[-1])
    offset = sample * attributes.shape[1]
    weights = bary[sample, row, column]  # (P, 3)
    values = sum(flat[corners[:, k] + offset] * weights[:, k, None] for k in range(3))
    result = attributes.new_zeros(*face_idx.shape, attributes.shape[-1])
    return result.index_put((sample, row, column), values)  # type: ignore[arg-type]


def pixel_centres(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """x (W,) and y (H,) of the pixel centres in normalised device coordinates, y up."""
    x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) * (2.0 / width) - 1.0
    y = 1.0 - (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) * (2.0 / height)
    return x, y


def _winners(clip: Tensor, faces: Tensor, height: int, width: int, cull: bool) -> Tensor:
    """(H·W,) the nearest triangle's index at each pixel of one sample (V, 4), −1 where there is none."""
    corners = clip[faces]  # (F, 3, 4)
    depth = corners[..., 3]
    in_front = (depth > 1e-6).all(dim=1)
    xy = corners[..., :2] / depth.clamp_min(1e-6)[..., None]  # (F, 3, 2) normalised device coordinates
    a, b, c = xy.unbind(dim=1)
    area = _cross(b - a, c - a)  # twice the signed area; > 0 when seen from the front (y is up)
    kept = in_front & (area > 1e-12 if cull else area.abs() > 1e-12)
    first_x, last_x = _pixel_range(xy[..., 0], width)
    first_y, last_y = _pixel_range(-xy[..., 1], height)
    num_x = (last_x - first_x + 1).clamp_min(0)
    num_y = (last_y - first_y + 1).clamp_min(0)
    kept &= (num_x > 0) & (num_y > 0)
    ids = torch.nonzero(kept)[:, 0]
    counts = (num_x * num_y)[ids]
    best = torch.full((height * width,), torch.iinfo(torch.int64).max, dtype=torch.int64, device=clip.device)
    near, far = depth.min(), depth.max()
    inverse_span = 1.0 / (1.0 / near - 1.0 / far).clamp_min(1e-12)
    centre_x, centre_y = pixel_centres(height, width, clip)
    for chunk in _chunks(ids, counts):
        which = torch.repeat_interleave(torch.arange(len(chunk), device=clip.device), counts[chunk])
        face = ids[chunk][which]
        start = torch.cumsum(counts[chunk], 0) - counts[chunk]
        nth = torch.arange(len(face), device=clip.device) - start[which]
        column = first_x[face] + nth % num_x[face]
        row = first_y[face] + nth // num_x[face]
        px, py = centre_x[column], centre_y[row]
        w0, w1, w2 = _edges(xy[face], px, py)
        total = area[face]
        sign = torch.sign(total)
        inside = (w0 * sign >= 0) & (w1 * sign >= 0) & (w2 * sign >= 0)
        face, row, column = face[inside], row[inside], column[inside]
        weights = torch.stack([w0[inside], w1[inside], w2[inside]], dim=1) / total[inside, None]
        # 1/depth is linear over the screen; larger is nearer.
        inverse_depth = (weights / depth[face]).sum(dim=1)
        level = ((1.0 / near - inverse_depth) * inverse_span).clamp(0.0, 1.0).to(torch.float64) * _DEPTH_LEVELS
        # Depth above, index below: the minimum is the nearest triangle, the lowest index among equals.
        key = (level.to(torch.int64) << 32) | face
        best.scatter_reduce_(0, row * width + column, key, reduce="amin")
    empty = best == torch.iinfo(torch.int64).max
    return torch.where(empty, -1, best & 0xFFFFFFFF)


def _chunks(ids: Tensor, counts: Tensor) -> list[Tensor]:
    """Positions in `ids` grouped so that each group has a bounded number of candidates."""
    positions = torch.arange(len(ids), device=ids.device)
    if int(counts.sum()) <= _MAX_CANDIDATES:
        return [positions] if len(ids) else []
    group = torch.cumsum(counts, 0) // _MAX_CANDIDATES
    return [positions[group == g] for g in torch.unique(group)]


def _pixel_range(coordinate: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First and last pixel whose centre can lie between the least and greatest of (F, 3) coordinates in [−1, 1]."""
    low = (coordinate.amin(dim=1) + 1.0) * (0.5 * size) - 0.5
    high = (coordinate.amax(dim=1) + 1.0) * (0.5 * size) - 0.5
    first = torch.ceil(low.clamp(-1.0, size + 1.0)).to(torch.int64).clamp_min(0)
    last = torch.floor(high.clamp(-1.0, size + 1.0)).to(torch.int64).clamp_max(size - 1)
    return first, last


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _edges(xy: Tensor, px: Tensor, py: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Edge functions of triangles (P, 3, 2) at points: twice the signed area opposite each corner."""
    ax, ay = xy[:, 0, 0] - px, xy[:, 0, 1] - py
    bx, by = xy[:, 1, 0] - px, xy[:, 1, 1] - py
    cx, cy = xy[:, 2, 0] - px, xy[:, 2, 1] - py
    return bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx


def barycentric(face_idx: Tensor, verts_clip: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Perspective-correct barycentric coordinates (N, H, W, 3) and depth (N, H, W) of the covered pixels; 0 elsewhere."""
    num_samples, height, width = face_idx.shape
    sample, row, column = torch.nonzero(face_idx >= 0, as_tuple=True)
    corners = faces[face_idx[sample, row, column]] + (sample * verts_clip.shape[1])[:, None]
    clip = verts_clip.reshape(-1, 4)[corners]  # (P, 3, 4)
    x, y = pixel_centres(height, width, verts_clip)
    w = clip[..., 3]
    edges = torch.stack(_edges(clip[..., :2] / w[..., None], x[column], y[row]), dim=1) / w  # (P, 3)
    total = edges.sum(dim=1, keepdim=True)
    weights = edges / total
    bary = verts_clip.new_zeros(num_samples, height, width, 3).index_put((sample, row, column), weights)
    depth = verts_clip.new_zeros(num_samples, height, width).index_put((sample, row, column), (weights * w).sum(dim=1))
    return bary, depth
