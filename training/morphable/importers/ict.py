"""ICT-FaceKit (USC ICT, MIT licence): a folder `FaceXModel` of OBJ files and `vertex_indices.json`.

Source: Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; the repository's README gives the
vertex ranges of the parts.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synthface.errors import MorphableModelError
from synthface.morphable.basis import MorphableBasis
from training.morphable.importers.common import dense_landmarks, needed, plain_skin, to_canonical
from training.morphable.mesh import triangulate

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

PARTS = (
    "background", "skin", "neck", "mouth_interior", "eye_socket", "tongue", "teeth", "eye_white_left", "iris_left",
    "pupil_left", "eye_white_right", "iris_right", "pupil_right",
)  # fmt: skip
#: First and last vertex of each part. Irises (under a transparent cornea), tear film, occlusion shells and lashes are left
#: out, as they need transparency; iris and pupil are painted on the eyeball instead, by the angle from its axis.
_RANGES = (
    (0, 9408, "skin"), (9409, 11247, "neck"), (11248, 13293, "mouth_interior"), (13294, 14061, "eye_socket"),
    (14062, 17038, "tongue"), (17039, 21450, "teeth"), (21451, 22220, "eye_white_left"),
    (23021, 23790, "eye_white_right"),
)  # fmt: skip
_NARROW_FACE_LAST = 6705
_COLOURS = {
    "mouth_interior": (0.085, 0.022, 0.02), "eye_socket": (0.16, 0.07, 0.06), "tongue": (0.36, 0.12, 0.115),
    "teeth": (0.74, 0.69, 0.58), "eye_white": (0.70, 0.66, 0.63), "iris": (0.10, 0.072, 0.056), "pupil": (0.004, 0.004, 0.004),
}  # fmt: skip


def import_ict(folder: Path) -> MorphableBasis:
    """Read ICT-FaceKit's light model; identities and expressions that aren't there are left out.

    Shape components keep their published scale (one unit is a standard deviation). `browInnerUp_L` and `_R`, and
    `cheekPuff_L` and `_R`, are summed into ARKit's `brow_inner_up` and `cheek_puff`; `_L` and `_R` of the others become
    `_left` and `_right`, the subject's.

    Raises:
        MorphableModelError: a file is missing or not of the published layout.
    """
    vertices, quads, uv, uv_quads = read_obj(needed(folder / "generic_neutral_mesh.obj", "the neutral mesh"))
    ranges = _RANGES if len(vertices) > _RANGES[-1][1] else ((0, len(vertices) - 1, "skin"),)
    landmarks = _landmarks(needed(folder / "vertex_indices.json", "landmark indices"), len(vertices))
    part_of = np.zeros(len(vertices), np.uint8)
    for first, last, name in ranges:
        part_of[first : last + 1] = PARTS.index(name)
        if name.startswith("eye_white"):
            _paint_eye(part_of[first : last + 1], vertices[first : last + 1], name.removeprefix("eye_white_"))
    kept = (part_of[quads] > 0).all(axis=1)
    corners, quad = triangulate(vertices, quads[kept])
    all_faces = np.take_along_axis(quads[kept][quad], corners, axis=1)
    used, faces = np.unique(np.concatenate([all_faces.ravel(), landmarks]), return_inverse=True)
    landmarks68 = faces[-68:]
    faces = faces[:-68].reshape(-1, 3)
    scale, origin = to_canonical(vertices[used], landmarks68)
    mean = (vertices[used] - origin) * scale
    identities = sorted(folder.glob("identity[0-9]*.obj"))
    if not identities:
        raise MorphableModelError(f"{folder}: no identityNNN.obj there; name the folder FaceXModel of ICT-FaceKit")
    shape = np.array([(_vertices(path, len(vertices)) - vertices)[used] * scale for path in identities])
    names, expression = _expressions(folder, vertices, used, scale)
    part = np.sort(part_of[used][faces], axis=1)[:, 1]
    face_mask = (part == PARTS.index("skin")) & (used[faces] <= _NARROW_FACE_LAST).all(axis=1)
    albedo, tone, attributes = plain_skin(len(used))
    for name, colour in _COLOURS.items():
        mine = np.isin(part_of[used], [n for n, p in enumerate(PARTS) if p.startswith(name)])
        albedo[mine], tone[:, mine] = colour, 0.0
    return MorphableBasis(
        name="ict-facekit",
        mean_shape=mean.astype(np.float32),
        shape_basis=shape.astype(np.float32),
        expression_basis=expression.astype(np.float32),
        expression_names=names,
        mean_albedo=albedo.astype(np.float32),
        albedo_basis=tone.astype(np.float32),
        faces=faces.astype(np.int32),
        face_part=part.astype(np.uint8),
        part_names=PARTS,
        face_mask=face_mask,
        landmarks68=landmarks68.astype(np.int32),
        landmarks_dense=dense_landmarks(mean, faces, face_mask, landmarks68),
        uv=uv.astype(np.float32),
        uv_faces=np.take_along_axis(uv_quads[kept][quad], corners, axis=1).astype(np.int32),
        attributes=attributes,
        card={"source": "ICT-FaceKit light model", "licence": "MIT", "num_identities": len(identities)},
    )


def _paint_eye(part: npt.NDArray[np.uint8], eyeball: F64, side: str) -> None:
    """Make iris and pupil of the vertices near an eyeball's optical axis, in place."""
    centre = (eyeball.min(axis=0) + eyeball.max(axis=0)) / 2
    direction = (eyeball - centre) / np.linalg.norm(eyeball - centre, axis=1, keepdims=True)
    angle = np.degrees(np.arccos(direction[:, 2].clip(-1, 1)))
    part[angle < 26] = PARTS.index(f"iris_{side}")
    part[angle < 10] = PARTS.index(f"pupil_{side}")


def read_obj(path: Path) -> tuple[F64, I64, F64, I64]:
    """Vertices (V, 3), quads (Q, 4), texture coordinates (T, 2) and their quads (Q, 4); triangles repeat a corner.

    Raises:
        MorphableModelError: it isn't such a file.
    """
    vertices, uv, quads, uv_quads = [], [], [], []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        kind, _, rest = line.partition(" ")
        try:
            if kind == "v":
                vertices.append([float(x) for x in rest.split()[:3]])
            elif kind == "vt":
                uv.append([float(x) for x in rest.split()[:2]])
            elif kind == "f":
                corners = [[int(i or 1) - 1 for i in [*corner.split("/"), "1"][:2]] for corner in rest.split()]
                corners = corners + corners[-1:] if len(corners) == 3 else corners
                quads.append([c[0] for c in corners[:4]])
                uv_quads.append([c[1] for c in corners[:4]])
        except (ValueError, IndexError) as error:
            raise MorphableModelError(f"{path}:{number}: {line[:60]!r} isn't a line of an OBJ file") from error
    if not vertices or not quads:
        raise MorphableModelError(f"{path}: no vertices or faces in it; is it an OBJ file?")
    return np.array(vertices), np.array(quads), np.array(uv or [[0.0, 0.0]]), np.array(uv_quads)


def _vertices(path: Path, count: int) -> F64:
    """Only the vertices of an OBJ file, which must be as many as the neutral mesh has."""
    text = path.read_text(encoding="utf-8", errors="replace")
    found = np.array([line.split()[1:4] for line in text.splitlines() if line.startswith("v ")], dtype=np.float64)
    if found.shape != (count, 3):
        raise MorphableModelError(f"{path}: has {len(found)} vertices, the neutral mesh {count}; copy the file anew")
    return found


def _landmarks(path: Path, count: int) -> I64:
    try:
        landmarks = np.array(json.loads(path.read_text())["idx_to_landmark_verts"], dtype=np.int64)
    except (ValueError, KeyError) as error:
        raise MorphableModelError(f"{path}: no idx_to_landmark_verts in it; is it the official file?") from error
    if landmarks.shape != (68,) or landmarks.max() >= count:
        raise MorphableModelError(f"{path}: idx_to_landmark_verts isn't 68 vertices of the mesh")
    return landmarks


def arkit_name(name: str) -> str:
    """`mouthSmile_L` → `mouth_smile_left`; the two halves of `browInnerUp` and `cheekPuff` → one name."""
    stem, _, side = name.partition("_")
    snake = re.sub(r"(?<=[a-z])([A-Z])", lambda m: "_" + m[1].lower(), stem)
    if snake in ("brow_inner_up", "cheek_puff") or not side:
        return snake
    return f"{snake}_{'left' if side == 'L' else 'right'}"


def _expressions(folder: Path, neutral: F64, used: I64, scale: float) -> tuple[tuple[str, ...], F64]:
    sums: dict[str, F64] = {}
    for path in sorted(folder.glob("*.obj")):
        if path.stem == "generic_neutral_mesh" or path.stem.startswith("identity"):
            continue
        offset = (_vertices(path, len(neutral)) - neutral)[used] * scale
        name = arkit_name(path.stem)
        sums[name] = sums.get(name, 0.0) + offset
    if not sums:
        raise MorphableModelError(f"{folder}: no expression meshes (jawOpen.obj …) there")
    names = tuple(sorted(sums))
    return names, np.array([sums[name] for name in names])
