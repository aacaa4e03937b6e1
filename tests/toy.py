"""A small morphable model with known geometry: a sphere of radius 0.8 dm, for tests that need exact answers."""

from __future__ import annotations

import numpy as np

from synthface.factors.types import AttributeAxis
from synthface.morphable.basis import MorphableBasis


def icosphere(subdivisions: int = 2, radius: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and outward faces (F, 3) of a subdivided icosahedron."""
    g = (1 + 5**0.5) / 2
    vertices = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g)]
    vertices += [(0, -1, -g), (0, 1, -g), (g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    faces = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6)]
    faces += [(7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10)]
    faces += [(8, 6, 7), (9, 8, 1)]
    points = [np.array(v, float) / np.linalg.norm(v) for v in vertices]
    for _ in range(subdivisions):
        middle: dict[tuple[int, int], int] = {}

        def midpoint(i: int, j: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (min(i, j), max(i, j))
            if key not in middle:
                point = points[i] + points[j]
                points.append(point / np.linalg.norm(point))
                middle[key] = len(points) - 1
            return middle[key]

        split = []
        for a, b, c in faces:
            ab, bc, ca = midpoint(a, b), midpoint(b, c), midpoint(c, a)
            split += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        faces = split
    return np.array(points) * radius, np.array(faces)


def sphere_basis(
    subdivisions: int = 2, num_shape: int = 4, num_albedo: int = 2, num_expression: int = 3
) -> MorphableBasis:
    """A sphere as a morphable model: small smooth bases, two parts, landmarks on the front."""
    vertices, faces = icosphere(subdivisions)
    rng = np.random.default_rng(0)
    unit = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)

    def smooth(count: int, scale: float) -> np.ndarray:
        waves = rng.normal(size=(count, 3, 3))
        return (scale * np.sin(np.einsum("kij,vj->kvi", waves, unit))).astype(np.float32)

    front = np.argsort(-vertices[:, 2])
    part = np.where(vertices[faces].mean(axis=1)[:, 2] > 0, 1, 2).astype(np.uint8)
    tone = np.full((1, len(vertices), 3), 0.1, np.float32)
    return MorphableBasis(
        name="sphere",
        mean_shape=vertices.astype(np.float32),
        shape_basis=smooth(num_shape, 0.02),
        expression_basis=smooth(num_expression, 0.05),
        expression_names=("jaw_open", "mouth_smile_left", "mouth_smile_right", "eye_blink_left")[:num_expression],
        mean_albedo=np.full((len(vertices), 3), 0.5, np.float32),
        albedo_basis=np.concatenate([tone, smooth(num_albedo - 1, 0.05)]),
        faces=faces.astype(np.int32),
        face_part=part,
        part_names=("background", "front", "back"),
        face_mask=part == 1,
        landmarks68=np.resize(front[: len(front) // 3], 68).astype(np.int32),
        landmarks_dense=front[: len(front) // 3].astype(np.int32),
        uv=np.stack([unit[:, 0], unit[:, 1]], axis=1).astype(np.float32) * 0.5 + 0.5,
        uv_faces=faces.astype(np.int32),
        attributes={
            "skin_tone_ita_deg": AttributeAxis(
                "degree", np.array([-90.0, 90.0]), np.array([[-3.0], [3.0]]), "albedo", (0,)
            )
        },
        card={"source": "made by tests/toy.py"},
    )


class LinearPrior:
    """A prior in closed form: mean + gain · z, each number of z in its place, and 0.01 of the residual."""

    def __init__(self, size: int, *, mean: float = 0.0, gain: float = 1.0) -> None:
        self.size = self.z_size = size
        self.mean, self.gain = mean, gain

    def decode(self, z: np.ndarray, *, residual: np.ndarray | None = None) -> np.ndarray:
        """λ (N, size)."""
        extra = 0.0 if residual is None else 0.01 * residual
        return (self.mean + self.gain * z + extra).astype(np.float32)
