"""Which point of the mesh each detected landmark is: found by detecting landmarks on renderings, whose geometry is known.

    python -m training correspond --out training/fit/facemesh468.npz

Random heads are rendered, landmarks detected, and each landmark is looked up on the surface; what the renderings agree on
is kept as a triangle and barycentric coordinates, with the scatter as the landmark's uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.morphable import camera
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render

F64 = npt.NDArray[np.float64]
#: Pictures (H, W, 3) to landmarks (L, 2 or more) in px, or None where no face is found.
Detect = Callable[[npt.NDArray[np.uint8]], "npt.NDArray[np.floating] | None"]

FILE = Path(__file__).with_name("facemesh468.npz")
#: Parts that a facial landmark can be on; never teeth, the mouth's interior, the scalp or the neck.
_SURFACE = ("skin", "lips", "brow_left", "brow_right", "eye_white_left", "eye_white_right")


@dataclass(frozen=True)
class Correspondence:
    """L landmarks on the mesh.

    Args:
        vertices: (L, 3) vertex indices.
        weights: (L, 3) barycentric, summing to 1.
        deviation_dm: (L,) how far the detector's landmarks scatter on the surface, one standard deviation.
    """

    vertices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    deviation_dm: npt.NDArray[np.float32]

    def on(self, vertices: Tensor) -> Tensor:
        """The landmarks (N, L, 3) on meshes (N, V, 3)."""
        index = torch.from_numpy(self.vertices).to(vertices.device)
        weights = torch.from_numpy(self.weights).to(vertices)
        return (vertices[:, index] * weights[..., None]).sum(dim=2)

    def rows(self, basis: Tensor) -> Tensor:
        """A basis (K, V, 3) at the landmarks (K, L, 3)."""
        return self.on(basis)

    def save(self, path: Path) -> None:
        """Write an npz."""
        np.savez_compressed(path, vertices=self.vertices, weights=self.weights, deviation_dm=self.deviation_dm)

    @staticmethod
    def load(path: Path = FILE) -> Correspondence:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return Correspondence(file["vertices"].astype(np.int64), file["weights"], file["deviation_dm"])


def correspond(
    basis: MorphableBasis, detect: Detect, *, num_heads: int = 200, size_px: int = 320, seed: int = 0
) -> Correspondence:
    """Find the correspondence of a detector's landmarks.

    Args:
        basis: the morphable model.
        detect: the detector.
        num_heads: random heads to render.
        size_px: of the renderings.
        seed: of the heads.
    """
    model = MorphableModel(basis).eval()
    rng = np.random.default_rng(seed)
    used = np.unique(surface_faces(basis))
    votes = []
    for _ in range(num_heads):
        factors = random_head(basis, rng)
        with torch.no_grad():
            shown = render(model, factors, size_px, supersample=2, background=torch.full((1, 3, 1, 1), 0.4))
        pixels = ((shown.image[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
        found = detect(pixels)
        if found is not None:
            votes.append(_lift(found[:, :2], shown.mesh.vertices[0], shown.mesh.normals[0], used, basis, size_px))
    return _agree(_symmetric(np.array(votes)), basis)


def random_head(basis: MorphableBasis, rng: np.random.Generator) -> Factors:
    """λ of one head that a landmark detector should be at ease with: mild pose, a few actions, soft light from the front."""
    expression = np.zeros(basis.num_expression)
    for name, high in (("jaw_open", 0.5), ("mouth_smile_left", 0.8), ("brow_inner_up", 0.6), ("eye_wide_left", 0.5)):
        value = rng.uniform(0, high) * rng.integers(2)
        for n, other in enumerate(basis.expression_names):
            if other.removesuffix("_left").removesuffix("_right") == name.removesuffix("_left"):
                expression[n] = value
    sh = np.zeros((3, 9))
    sh[:, 0], sh[:, 2], sh[:, 1] = 0.62 / (np.pi * 0.282095), 0.3, -0.1
    pose = rng.uniform(-1, 1, 3) * np.radians([10, 18, 6])
    arrays = (rng.normal(size=basis.num_shape) * 0.7, rng.normal(size=basis.num_albedo) * 0.5, expression, sh, pose)
    return Factors(*(torch.tensor(a, dtype=torch.float32)[None] for a in arrays))


def _lift(
    points_px: F64, vertices: Tensor, normals: Tensor, used: npt.NDArray[np.intp], basis: MorphableBasis, size_px: int
) -> F64:
    """Positions (L, 3) on the mean head of points (L, 2) in the picture: by the nearest visible vertices around each."""
    view = torch.tensor([0.0, 0.0, camera.DISTANCE_DM]) - vertices
    facing = ((normals * view).sum(-1) > 0).numpy()
    candidates = used[facing[used]]
    pixels = camera.to_pixels(vertices, size_px).numpy()[candidates]
    square = ((points_px[:, None] - pixels[None]) ** 2).sum(-1)
    nearest = np.argsort(square, axis=1)[:, :6]
    # An affine map from the picture to the mean head, fitted to the six vertices around the point.
    result = np.empty((len(points_px), 3))
    for row, index in enumerate(nearest):
        design = np.concatenate([pixels[index] - points_px[row], np.ones((6, 1))], axis=1)
        weight = 1.0 / np.sqrt(square[row, index] + 1.0)
        ridge = np.diag([1e-3, 1e-3, 0.0])
        target = basis.mean_shape[candidates[index]]
        normal = (design * weight[:, None]).T @ design + ridge
        result[row] = np.linalg.solve(normal, (design * weight[:, None]).T @ target)[2]
    return result


def _symmetric(votes: F64) -> F64:
    """The votes (M, L, 3) and their mirror images (2M, L, 3): neither side of the face is the detector's favourite."""
    centre = np.median(votes, axis=0)
    flip = np.array([-1.0, 1.0, 1.0])
    twin = np.array([int(((centre * flip - point) ** 2).sum(-1).argmin()) for point in centre])
    # A twin's twin is the point itself; where two points claim one twin, the pair is left as it is.
    mutual = twin[twin] == np.arange(len(twin))
    mirrored = np.where(mutual[:, None], votes[:, twin] * flip, votes)
    return np.concatenate([votes, mirrored])


def _agree(votes: F64, basis: MorphableBasis) -> Correspondence:
    """The median of the votes (M, L, 3), dropped onto the mean head's surface."""
    centre = np.median(votes, axis=0)
    scatter = 1.4826 * np.median(np.linalg.norm(votes - centre, axis=2), axis=0)
    vertices, weights = drop_onto_surface(centre, basis.mean_shape, basis)
    return Correspondence(vertices, weights, scatter.astype(np.float32))


def surface_faces(basis: MorphableBasis) -> npt.NDArray[np.int32]:
    """(F, 3) the triangles that a facial landmark can be on."""
    return basis.faces[np.isin(basis.face_part, [n for n, name in enumerate(basis.part_names) if name in _SURFACE])]


def drop_onto_surface(
    points: F64, head: npt.NDArray[np.floating], basis: MorphableBasis
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The vertices (L, 3) and barycentric weights (L, 3) on the head (V, 3) nearest to points (L, 3)."""
    faces = surface_faces(basis)
    triangles = head[faces].astype(np.float64)
    middles = triangles.mean(axis=1)
    vertices, weights = np.empty((len(points), 3), np.int64), np.empty((len(points), 3), np.float32)
    for n, point in enumerate(points):
        near = np.argsort(((middles - point) ** 2).sum(-1))[:60]
        bary = closest_on_triangles(point, triangles[near])
        foot = (triangles[near] * bary[..., None]).sum(axis=1)
        best = int(((foot - point) ** 2).sum(-1).argmin())
        vertices[n], weights[n] = faces[near[best]], bary[best]
    return vertices, weights


def closest_on_triangles(point: F64, triangles: F64) -> F64:
    """Barycentric coordinates (T, 3) of the points of triangles (T, 3, 3) nearest to a point (3,).

    The plane's foot where it lies inside; otherwise the best point on one of the three edges.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    total = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / total, (d00 * d21 - d01 * d20) / total
    inside = np.stack([1 - v - w, v, w], axis=1)
    options = [inside]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = triangles[:, j] - triangles[:, i]
        share = ((point - triangles[:, i]) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-18)
        on_edge = np.zeros_like(inside)
        on_edge[:, j] = share.clip(0, 1)
        on_edge[:, i] = 1 - on_edge[:, j]
        options.append(on_edge)
    stacked = np.stack(options)  # (4, T, 3)
    feet = (stacked[..., None] * triangles[None]).sum(axis=2)
    distance = ((feet - point) ** 2).sum(-1)
    distance[0, (inside < 0).any(axis=1)] = np.inf
    return stacked[distance.argmin(axis=0), np.arange(len(triangles))]
