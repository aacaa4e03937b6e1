"""Mirroring: what λ becomes when its picture is flipped left to right.

    mirror = Mirror.of(basis)
    flipped = mirror.factors(batch)                # renders, pixel by pixel, as the flipped renderings of `batch`
    points = mirror_landmarks68(landmarks)

Reflection in the head's sagittal plane x = 0 is linear in every part of λ, so a `Mirror` is one matrix per part:

- **pose**: yaw and roll change sign; exact.
- **lighting**: in the order (1, −y, z, −x, xy, −yz, 3z²−1, −xz, x²−y²) the terms odd in x change sign; exact.
- **expression**: actions of the subject's left and right change places, by name (`jaw_left` with `jaw_right`, and
  `eye_look_in_left` with `eye_look_in_right`: the eyes swap, each still looks towards the nose); exact as far as the model's
  actions are each other's mirror images.
- **identity**: each component that is symmetric or antisymmetric keeps its size. Where components are neither, their mirror
  images may lie outside the basis; then the matrix is the least-squares reflection, and `Exactness` says what is left
  (bundled head: 0.4 mm per vertex of the 4.6 mm that shape coefficients move it, root mean square).

The means are taken as symmetric. ε has no known mirror image and stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from synthface.errors import MorphableModelError
from synthface.factors.types import FactorBatch

Floats = npt.NDArray[np.floating]
F64 = npt.NDArray[np.float64]

#: x ↦ −x.
_REFLECTION = np.array([-1.0, 1.0, 1.0])
#: Pitch, yaw, roll.
POSE_SIGNS = np.array([1.0, -1.0, -1.0])
#: −x, xy and −xz are odd in x.
SH_SIGNS = np.array([1.0, 1, 1, -1, -1, 1, 1, -1, 1])
#: For each of the 68 points of iBUG 300-W the one on the other side.
LANDMARKS68 = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *range(27, 31),  # bridge of the nose
        *range(35, 30, -1),  # nostrils
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ]
)
#: How strongly a component's own coefficient is kept where the mesh says little: dm, and linear RGB. Undamped, what the basis
#: can't express ends up as far-fetched values of its weakest components.
_DAMPING = 3e-4


class Mirrorable(Protocol):
    """What mirroring must know of a morphable model; `MorphableBasis` is one."""

    @property
    def name(self) -> str:
        """Short name."""

    @property
    def shape_basis(self) -> npt.NDArray[np.float32]:
        """(Ks, V, 3) dm."""

    @property
    def albedo_basis(self) -> npt.NDArray[np.float32]:
        """(Kt, V, 3) linear RGB."""

    @property
    def expression_names(self) -> tuple[str, ...]:
        """Ke names."""

    @property
    def mirror(self) -> npt.NDArray[np.int32]:
        """(V,) the vertex on the other side."""

    @property
    def head_vertices(self) -> npt.NDArray[np.intp]:
        """Indices of the vertices that matter."""


@dataclass(frozen=True)
class Exactness:
    """How far the mirrored coefficients miss the mirrored head, over heads of normal coefficients, root mean square.

    Args:
        left: what is left over per vertex: dm, or linear RGB.
        whole: what the coefficients do in all, for comparison.
    """

    left: float
    whole: float


@dataclass(frozen=True)
class Mirror:
    """λ to λ of the flipped picture: `part @ matrix.T` for each part of λ.

    Args:
        matrices: `shape` (Ks, Ks), `albedo` (Kt, Kt), `expression` (Ke, Ke), `sh` (27, 27) channel-major, `pose_rad` (3, 3).
        exactness: of `shape` and `albedo`.
    """

    matrices: Mapping[str, F64]
    exactness: Mapping[str, Exactness]

    @staticmethod
    def of(basis: Mirrorable) -> Mirror:
        """The mirror of a morphable model.

        Raises:
            MorphableModelError: the model doesn't say which vertices are twins, or an action lacks its other side.
        """
        if not basis.mirror.size:
            raise MorphableModelError(
                f"morphable model {basis.name!r} has no `mirror`: its vertices' twins are unknown, so λ can't be mirrored; "
                "train without mirrored copies, or import a model of symmetric topology"
            )
        shape, of_shape = _reflection(basis.shape_basis, basis, _REFLECTION)
        albedo, of_albedo = _reflection(basis.albedo_basis, basis, np.ones(3))
        matrices = {
            "shape": shape,
            "albedo": albedo,
            "expression": np.eye(len(basis.expression_names))[swapped(basis.expression_names)],
            "sh": np.diag(np.tile(SH_SIGNS, 3)),
            "pose_rad": np.diag(POSE_SIGNS),
        }
        return Mirror(matrices, {"shape": of_shape, "albedo": of_albedo})

    def part(self, name: str, values: Floats) -> npt.NDArray[np.float32]:
        """A part of λ (N, …), mirrored."""
        flat = np.asarray(values, np.float64).reshape(len(values), len(self.matrices[name]))
        return (flat @ self.matrices[name].T).reshape(np.shape(values)).astype(np.float32)

    def factors(self, batch: FactorBatch) -> FactorBatch:
        """λ of the flipped pictures of a batch; ε as it was."""
        return replace(batch, **{name: self.part(name, getattr(batch, name)) for name in self.matrices})


def swapped(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """For each action (Ke,) the number of the one that the mirror shows: left for right, by the word in the name.

    Raises:
        MorphableModelError: an action of one side has none on the other.
    """
    sides = {"left": "right", "right": "left", "L": "R", "R": "L"}
    numbers = {name: number for number, name in enumerate(names)}
    twins = ["_".join(sides.get(word, word) for word in name.split("_")) for name in names]
    alone = [name for name, twin in zip(names, twins, strict=True) if twin not in numbers]
    if alone:
        raise MorphableModelError(f"actions {', '.join(alone)} have no twin on the other side, so λ can't be mirrored")
    return np.array([numbers[twin] for twin in twins], np.int64)


def mirror_landmarks68(points: Floats, width: float = 1.0) -> Floats:
    """Where the 68 landmarks (…, 68, 2) lie in the flipped picture; `width` is the picture's, 1 for fractions of it."""
    flipped = np.array(points)[..., LANDMARKS68, :]
    flipped[..., 0] = width - flipped[..., 0]
    return flipped


def _reflection(components: Floats, basis: Mirrorable, signs: F64) -> tuple[F64, Exactness]:
    """The matrix R (K, K) that minimises |B R α − P B α|² + (damping)² |R α − S α|² over the head's vertices.

    P swaps twins and flips x; S keeps each component, with the sign that it is more nearly (anti)symmetric in.
    """
    num = len(components)
    if num == 0:
        return np.zeros((0, 0)), Exactness(0.0, 0.0)
    as_float = components.astype(np.float64)
    here = as_float[:, basis.head_vertices].reshape(num, -1)
    there = (as_float[:, basis.mirror[basis.head_vertices]] * signs).reshape(num, -1)
    gram, cross = here @ here.T, here @ there.T
    kept = np.diag(np.where(np.diag(cross) < 0, -1.0, 1.0))
    damping = _DAMPING**2 * len(basis.head_vertices)
    matrix = np.linalg.solve(gram + damping * np.eye(num), cross + damping * kept)
    per_vertex = 1 / np.sqrt(len(basis.head_vertices))
    left, whole = (float(np.linalg.norm(x) * per_vertex) for x in (there - matrix.T @ here, here))
    return matrix, Exactness(left, whole)
