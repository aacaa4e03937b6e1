"""FLAME (MPI-IS; signed licence): `generic_model.pkl` or `.npz`, and the static landmark embedding.

The official model is a pickle. It is read by an unpickler that makes inert stand-ins and runs no code of the file: it knows
NumPy arrays, SciPy's sparse matrices and Chumpy's wrapper, and refuses everything else.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import MorphableModelError
from synthface.morphable.basis import MorphableBasis
from training.morphable.importers.common import dense_landmarks, needed, plain_skin, shaped, to_canonical

F64 = npt.NDArray[np.float64]

NUM_SHAPE_DIRECTIONS, NUM_SHAPE, NUM_EXPRESSION = 300, 100, 50
PARTS = ("background", "skin", "face")
MODEL_FILES = ("generic_model.npz", "generic_model.pkl")
EMBEDDINGS = ("landmark_embedding.npz", "landmark_embedding.npy")


def import_flame(folder: Path) -> MorphableBasis:
    """Read FLAME's template, 100 shape and 50 expression components; jaw, neck and eye joints are left at rest.

    Expressions have no names: `expression_000` and on, in standard deviations of either sign. FLAME is in metres.

    Raises:
        MorphableModelError: a file is missing, not of the official layout, or a pickle that asks to run code.
    """
    path = next((folder / name for name in MODEL_FILES if (folder / name).is_file()), folder / MODEL_FILES[-1])
    model = _read(needed(path, "FLAME's model"))
    for key in ("v_template", "shapedirs", "f"):
        if key not in model:
            raise MorphableModelError(
                f"{path}: no {key} in it (it has {', '.join(sorted(model))}); is it the official file?"
            )
    vertices = np.asarray(shaped(np.asarray(model["v_template"]), (None, 3), f"{path}, v_template"), np.float64) * 10
    directions = np.asarray(
        shaped(np.asarray(model["shapedirs"]), (len(vertices), 3, None), f"{path}, shapedirs"), np.float64
    )
    faces = np.asarray(model["f"]).astype(np.int64)
    landmarks68 = _landmarks(folder, faces, len(vertices))
    scale, origin = to_canonical(vertices, landmarks68)
    components = np.moveaxis(directions, 2, 0) * 10 * scale
    shape = components[: min(NUM_SHAPE, len(components))]
    expression = components[NUM_SHAPE_DIRECTIONS : NUM_SHAPE_DIRECTIONS + NUM_EXPRESSION]
    if not len(expression):
        raise MorphableModelError(
            f"{path}: shapedirs has {len(components)} directions, expressions begin at {NUM_SHAPE_DIRECTIONS}; "
            "is it FLAME 2020?"
        )
    mean = (vertices - origin) * scale
    face_mask = _front(mean, faces, landmarks68)
    albedo, tone, attributes = plain_skin(len(mean))
    return MorphableBasis(
        name="flame",
        mean_shape=mean.astype(np.float32),
        shape_basis=shape.astype(np.float32),
        expression_basis=expression.astype(np.float32),
        expression_names=tuple(f"expression_{n:03d}" for n in range(len(expression))),
        mean_albedo=albedo.astype(np.float32),
        albedo_basis=tone.astype(np.float32),
        faces=faces.astype(np.int32),
        face_part=np.where(face_mask, 2, 1).astype(np.uint8),
        part_names=PARTS,
        face_mask=face_mask,
        landmarks68=landmarks68.astype(np.int32),
        landmarks_dense=dense_landmarks(mean, faces, face_mask, landmarks68),
        uv=np.zeros((1, 2), np.float32),
        uv_faces=np.zeros_like(faces, np.int32),
        attributes=attributes,
        card={"source": "FLAME", "licence": "signed; not redistributable"},
    )


def _front(mean: F64, faces: npt.NDArray[np.int64], landmarks68: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Triangles in front of the jaw's ends, between chin and a little above the brows."""
    points = mean[landmarks68]
    middle = mean[faces].mean(axis=1)
    top = points[17:27, 1].max() + 0.3
    return (middle[:, 2] > points[[0, 16], 2].mean()) & (middle[:, 1] > points[8, 1]) & (middle[:, 1] < top)


def _landmarks(folder: Path, faces: npt.NDArray[np.int64], num_vertices: int) -> npt.NDArray[np.int64]:
    """68 vertices of the full landmark embedding: on each point's triangle, the corner with the largest weight."""
    path = next((folder / name for name in EMBEDDINGS if (folder / name).is_file()), folder / EMBEDDINGS[0])
    content = _read(needed(path, "the embedding of 68 landmarks (full_lmk_faces_idx, full_lmk_bary_coords)"))
    keys = ("full_lmk_faces_idx", "full_lmk_bary_coords")
    if not all(key in content for key in keys):
        raise MorphableModelError(f"{path}: needs {' and '.join(keys)}; it has {', '.join(sorted(content))}")
    triangles = np.asarray(content[keys[0]]).reshape(-1).astype(np.int64)
    weights = np.asarray(content[keys[1]]).reshape(-1, 3)
    shaped(triangles, (68,), f"{path}, {keys[0]}")
    if triangles.max() >= len(faces):
        raise MorphableModelError(f"{path}: names triangle {triangles.max()}, the model has {len(faces)}")
    return faces[triangles, weights.argmax(axis=1)]


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        with path.open("rb") as file:
            if path.suffix == ".npy":
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
            content = _Inert(file, encoding="latin1").load()
    except (ValueError, EOFError, KeyError, pickle.UnpicklingError, AttributeError, IndexError) as error:
        if isinstance(error, _RefusedError):
            raise MorphableModelError(f"{path}: {error}") from error
        raise MorphableModelError(f"{path}: can't be read ({error}); copy it anew") from error
    if isinstance(content, np.ndarray) and content.dtype == object:
        content = content.item() if content.size == 1 else content.ravel()[0]
    if not isinstance(content, dict):
        raise MorphableModelError(
            f"{path}: holds a {type(content).__name__}, not a dictionary; is it the official file?"
        )
    return {str(key): _plain(value) for key, value in content.items()}


class _RefusedError(pickle.UnpicklingError):
    pass


class _StandIn:
    """What takes the place of Chumpy's and SciPy's objects: it keeps their state and does nothing."""

    def __init__(self, *args: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state


_NUMPY = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}  # fmt: skip
_INERT = {
    ("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("scipy.sparse.csc", "csc_matrix"),
    ("scipy.sparse._csc", "csc_matrix"), ("scipy.sparse.csr", "csr_matrix"), ("scipy.sparse._csr", "csr_matrix"),
}  # fmt: skip


class _Inert(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if (module, name) in _INERT:
            return _StandIn
        raise _RefusedError(
            f"asks for {module}.{name}, which a model doesn't need: not read; get it from its publisher"
        )


def _plain(value: Any) -> Any:
    """Chumpy's wrapper holds its array under `x`."""
    if isinstance(value, _StandIn) and isinstance(value.state, dict) and "x" in value.state:
        return value.state["x"]
    return value
