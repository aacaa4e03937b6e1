"""Basel Face Model 2009 with the expression basis of Guo et al., in the files that Deng et al.'s release asks for.

01_MorphableModel.mat   the model (University of Basel; signed licence): shape, texture, triangles
Exp_Pca.bin             expression basis (Guo et al. 2018), for the model without ears and neck
std_exp.txt             standard deviations of its components
BFM_front_idx.mat       `idx`: the 35 709 vertices of the face without ears and neck
BFM_exp_idx.mat         `trimIndex`: the 53 215 vertices that the expression basis has
facemodel_info.mat      `keypoints`, `tri`, `skinmask` of the 35 709 vertices
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import MorphableModelError
from synthface.factors.types import AttributeAxis
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.skin import individual_typology_angle
from training.morphable.importers.common import dense_landmarks, needed, shaped, to_canonical

F64 = npt.NDArray[np.float64]

NUM_SHAPE, NUM_ALBEDO, NUM_EXPRESSION = 80, 80, 64
PARTS = ("background", "skin", "face")


def import_bfm(folder: Path) -> MorphableBasis:
    """Read the model as Deng et al. use it: 80 shape, 80 texture and 64 expression components.

    Its expressions have no names: `expression_000` and on, in standard deviations of either sign.

    Raises:
        MorphableModelError: a file is missing or not of the official layout.
    """
    model = _mat(folder / "01_MorphableModel.mat", ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV"))
    front = _mat(folder / "BFM_front_idx.mat", ("idx",))["idx"].ravel().astype(np.int64) - 1
    trim = _mat(folder / "BFM_exp_idx.mat", ("trimIndex",))["trimIndex"].ravel().astype(np.int64) - 1
    info = _mat(folder / "facemodel_info.mat", ("keypoints", "tri", "skinmask"))
    where = f"{folder / '01_MorphableModel.mat'}"
    num_all = model["shapeMU"].size // 3
    chosen = trim[front]
    if chosen.max() >= num_all:
        raise MorphableModelError(
            f"{where}: has {num_all} vertices, but BFM_exp_idx.mat names vertex {chosen.max() + 1}"
        )

    def pick(name: str, count: int) -> F64:
        basis = shaped(model[f"{name}PC"], (3 * num_all, None), f"{where}, {name}PC")[:, :count]
        deviation = model[f"{name}EV"].ravel()[:count]
        scaled = (basis * deviation).T.reshape(-1, num_all, 3)
        return np.asarray(scaled[:, chosen], np.float64)

    shape_mean = model["shapeMU"].reshape(num_all, 3)[chosen]
    texture_mean = model["texMU"].reshape(num_all, 3)[chosen]
    expression_mean, expression = _expressions(folder, len(trim), front)
    landmarks68 = (
        shaped(info["keypoints"].ravel(), (68,), f"{folder / 'facemodel_info.mat'}, keypoints").astype(np.int64) - 1
    )
    faces = info["tri"].astype(np.int64) - 1
    # Micrometres to decimetres first, then the canonical frame.
    mean = (shape_mean + expression_mean) / 1e5
    scale, origin = to_canonical(mean, landmarks68)
    skin = info["skinmask"].ravel().astype(bool)
    face_mask = skin[faces].all(axis=1)
    albedo = _linear(texture_mean / 255.0)
    # The texture is sRGB: its components are carried to linear light by the curve's slope at the mean.
    slope = (_linear((texture_mean + 1.0) / 255.0) - _linear((texture_mean - 1.0) / 255.0)) / 2.0
    tones = pick("tex", NUM_ALBEDO) * slope
    return MorphableBasis(
        name="bfm-2009",
        mean_shape=((mean - origin) * scale).astype(np.float32),
        shape_basis=(pick("shape", NUM_SHAPE) / 1e5 * scale).astype(np.float32),
        expression_basis=(expression / 1e5 * scale).astype(np.float32),
        expression_names=tuple(f"expression_{n:03d}" for n in range(len(expression))),
        mean_albedo=albedo.clip(0, 1).astype(np.float32),
        albedo_basis=tones.astype(np.float32),
        faces=faces.astype(np.int32),
        face_part=np.where(face_mask, 2, 1).astype(np.uint8),
        part_names=PARTS,
        face_mask=face_mask,
        landmarks68=landmarks68.astype(np.int32),
        landmarks_dense=dense_landmarks(mean, faces, face_mask, landmarks68),
        uv=np.zeros((1, 2), np.float32),
        uv_faces=np.zeros_like(faces, np.int32),
        attributes=_tone_axis(albedo[skin].mean(axis=0), tones[:, skin].mean(axis=1)),
        card={
            "source": "Basel Face Model 2009 with Guo et al.'s expressions",
            "licence": "signed; not redistributable",
        },
    )


def _tone_axis(mean: F64, components: F64) -> dict[str, AttributeAxis]:
    """ITA° of the mean skin along the first texture component, where that is monotone; else no axis."""
    coefficients = np.linspace(-3, 3, 121)
    ita = individual_typology_angle((mean + coefficients[:, None] * components[0]).clip(1e-4, 1))
    if (np.diff(ita) < 0).all():
        ita, coefficients = ita[::-1], coefficients[::-1]
    if not (np.diff(ita) > 0).all():
        return {}
    return {"skin_tone_ita_deg": AttributeAxis("degree", ita, coefficients[:, None], "albedo", (0,))}


def _expressions(folder: Path, num_trimmed: int, front: npt.NDArray[np.int64]) -> tuple[F64, F64]:
    """Mean (V, 3) and components (64, V, 3) in micrometres, scaled to standard deviations."""
    path = needed(folder / "Exp_Pca.bin", "the expression basis of Guo et al. 2018")
    content = path.read_bytes()
    dimension = int(np.frombuffer(content, np.int32, 1)[0]) if len(content) >= 4 else 0
    size = 3 * num_trimmed
    wanted = 4 + 4 * size * (1 + dimension)
    if dimension < 1 or len(content) != wanted:
        raise MorphableModelError(
            f"{path}: has {len(content)} bytes, but {dimension} components of {num_trimmed} vertices take {wanted}; "
            "copy the official file anew"
        )
    values = np.frombuffer(content, np.float32, offset=4).astype(np.float64)
    deviation = np.loadtxt(needed(folder / "std_exp.txt", "standard deviations of the expressions")).ravel()
    count = min(NUM_EXPRESSION, dimension)
    if len(deviation) < count:
        raise MorphableModelError(f"{folder / 'std_exp.txt'}: has {len(deviation)} numbers, {count} are needed")
    components = values[size:].reshape(dimension, num_trimmed, 3)[:count, front] * deviation[:count, None, None]
    return values[:size].reshape(num_trimmed, 3)[front], components


def _linear(srgb: F64) -> F64:
    srgb = srgb.clip(0, 1)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _mat(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    needed(path, "see the list of files in `training/morphable/importers/bfm.py`")
    try:
        content: dict[str, Any] = loadmat(path)
    except (ValueError, OSError, TypeError, NotImplementedError, MatReadError) as error:
        raise MorphableModelError(f"{path}: not a MATLAB file that can be read ({error}); copy it anew") from error
    missing = [key for key in keys if key not in content]
    if missing:
        has = ", ".join(k for k in content if not k.startswith("__"))
        raise MorphableModelError(f"{path}: no {missing[0]} in it (it has {has}); is it the official file?")
    return content
