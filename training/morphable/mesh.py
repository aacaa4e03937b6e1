"""Mesh arithmetic for the build: everything that moves vertices is a matrix, so that it applies to bases as well."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def triangulate(vertices: F64, quads: I64) -> tuple[I64, I64]:
    """Split quads (Q, 4) along their shorter diagonal: corner numbers (2Q, 3) and the quad each came from (2Q,).

    Corner numbers index the quad's own corners, so that the same split applies to vertex and texture indices.
    """
    a, b, c, d = (vertices[quads[:, k]] for k in range(4))
    short_ac = np.linalg.norm(a - c, axis=1) <= np.linalg.norm(b - d, axis=1)
    first = np.where(short_ac[:, None], [[0, 1, 2]], [[0, 1, 3]])
    second = np.where(short_ac[:, None], [[0, 2, 3]], [[1, 2, 3]])
    corners = np.stack([first, second], axis=1).reshape(-1, 3)
    return corners, np.repeat(np.arange(len(quads)), 2)


@dataclass(frozen=True)
class Split:
    """How triangles are cut: corners of the pieces as codes on the old triangle.

    Args:
        parent: (F′,) the old triangle of each piece.
        codes: (F′, 3): 0–2 are the old corners, 3–5 the middles of the edges 0-1, 1-2, 2-0.
    """

    parent: I64
    codes: I64

    def apply(self, faces: I64, num_vertices: int) -> tuple[csr_matrix, I64]:
        """Cut `faces` (F, 3), vertex or texture indices alike.

        Returns:
            (V′, V) matrix that makes the new vertices of the old (the old ones come first, unmoved), and faces (F′, 3).
        """
        edges = np.sort(faces[:, _EDGES], axis=2)[self.parent]  # (F′, 3, 2)
        is_middle = self.codes >= 3
        piece = np.nonzero(is_middle)[0]
        split, number = np.unique(edges[piece, self.codes[is_middle] - 3], axis=0, return_inverse=True)
        result = np.take_along_axis(faces[self.parent], np.minimum(self.codes, 2), axis=1)
        result[is_middle] = num_vertices + number.reshape(-1)
        rows = np.concatenate([np.arange(num_vertices), np.repeat(num_vertices + np.arange(len(split)), 2)])
        columns = np.concatenate([np.arange(num_vertices), split.reshape(-1)])
        weights = np.concatenate([np.ones(num_vertices), np.full(2 * len(split), 0.5)])
        return csr_matrix((weights, (rows, columns)), shape=(num_vertices + len(split), num_vertices)), result


_EDGES = np.array([[0, 1], [1, 2], [2, 0]])


def subdivide(faces: I64, marked: npt.NDArray[np.bool_]) -> Split:
    """Cut the `marked` triangles (F,) in four at their edges' middles, and their neighbours so that no crack opens."""
    edges = np.sort(faces[:, _EDGES], axis=2)
    split = {(int(i), int(j)) for i, j in edges[marked].reshape(-1, 2)}
    parent: list[int] = []
    codes: list[tuple[int, int, int]] = []
    for index, face_edges in enumerate(edges):
        pieces = _pieces(tuple((int(i), int(j)) in split for i, j in face_edges))
        parent += [index] * len(pieces)
        codes += pieces
    return Split(np.array(parent), np.array(codes))


@cache
def _pieces(cut: tuple[bool, ...]) -> list[tuple[int, int, int]]:
    """One triangle whose edges 0-1, 1-2, 2-0 are cut or not, as 1 to 4 triangles of the same orientation."""
    for turn in range(3):  # turn the pattern into one of four shapes
        a, b, c = [(k + turn) % 3 for k in range(3)]
        ab, bc, ca = a + 3, b + 3, c + 3
        match tuple(cut[(k + turn) % 3] for k in range(3)):
            case (False, False, False):
                return [(a, b, c)]
            case (True, True, True):
                return [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
            case (True, False, False):
                return [(a, ab, c), (ab, b, c)]
            case (True, True, False):
                return [(b, bc, ab), (a, ab, bc), (a, bc, c)]
    raise AssertionError(cut)


def similarity(source: F64, target: F64) -> tuple[float, F64, F64]:
    """Scale s, rotation R, translation t that bring points (P, 3) nearest to others: s R x + t.

    Source: Umeyama 1991.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ flip @ vt
    scale = float((singular * np.diag(flip)).sum() / (a**2).sum())
    return scale, rotation, target_mean - scale * rotation @ source_mean


def principal_components(samples: F64, count: int) -> tuple[F64, F64, F64]:
    """Mean (D,), components scaled to one standard deviation (count, D), and the share of variance of each (count,).

    Args:
        samples: (S, D).
    """
    mean = samples.mean(axis=0)
    _, singular, vt = np.linalg.svd(samples - mean, full_matrices=False)
    deviation = singular / np.sqrt(len(samples) - 1)
    components = vt[:count] * deviation[:count, None]
    # A sign convention, so that rebuilding gives the same basis: the largest entry is positive.
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, None]
    return mean, components, (deviation**2 / (deviation**2).sum())[:count]


def mirror_of(vertices: F64) -> I64:
    """For each vertex (V, 3) the one nearest to its mirror image in the plane x = 0; −1 beyond 0.02 dm."""
    from scipy.spatial import cKDTree

    distance, nearest = cKDTree(vertices).query(vertices * [-1.0, 1.0, 1.0])
    return np.where(distance < 0.02, nearest, -1)


def vertex_normals(vertices: F64, faces: I64) -> F64:
    """Area-weighted unit normals (V, 3)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def farthest_points(points: F64, count: int, start: list[int]) -> list[int]:
    """Indices of `count` points that spread over (P, 3), the given ones first."""
    chosen = list(start)
    distance = np.min([np.linalg.norm(points - points[i], axis=1) for i in chosen], axis=0)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
