"""A linear morphable model as data: bases, topology, parts and landmarks; one class for every model we can read.

    S = mean_shape + Σ_k shape_basis[k] · α_s[k] + Σ_k expression_basis[k] · β[k]
    T = mean_albedo + Σ_k albedo_basis[k] · α_t[k]

Source: Blanz and Vetter 1999; Deng et al. 2020, Eq. 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import MorphableModelError
from synthface.factors.types import AttributeAxis, FactorLayout

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

FORMAT = "synthface-morphable-1"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_ARRAYS: dict[str, tuple[type, int]] = {
    "mean_shape": (np.float32, 2),
    "shape_basis": (np.float32, 3),
    "expression_basis": (np.float32, 3),
    "mean_albedo": (np.float32, 2),
    "albedo_basis": (np.float32, 3),
    "faces": (np.int32, 2),
    "face_part": (np.uint8, 1),
    "face_mask": (np.bool_, 1),
    "landmarks68": (np.int32, 1),
    "landmarks_dense": (np.int32, 1),
    "uv": (np.float32, 2),
    "uv_faces": (np.int32, 2),
    "mirror": (np.int32, 1),
}
_HALVED = ("shape_basis", "expression_basis", "albedo_basis")


@dataclass(frozen=True, eq=False)
class MorphableBasis:
    """A linear morphable model in the canonical head frame: x to the subject's left, y up, z out of the face, dm.

    Args:
        name: short name, `makehuman-head` say.
        mean_shape: (V, 3) mean vertices, dm.
        shape_basis: (Ks, V, 3) identity displacement per standard deviation, dm.
        expression_basis: (Ke, V, 3) displacement of each action at full strength, dm.
        expression_names: Ke names.
        mean_albedo: (V, 3) linear RGB in [0, 1].
        albedo_basis: (Kt, V, 3) change of albedo per standard deviation, linear RGB.
        faces: (F, 3) vertex indices, counter-clockwise from outside.
        face_part: (F,) index into `part_names`.
        part_names: part names; 0 is `background` and no face has it.
        face_mask: (F,) the region that losses look at: facial skin, brows and lips, no eyeballs, ears, neck or scalp.
        landmarks68: (68,) vertex indices in the order of iBUG 300-W; 0 is at the subject's right ear (image left).
        landmarks_dense: (D,) vertex indices spread over the face.
        uv: (T, 2) texture coordinates in [0, 1], origin at the lower left.
        uv_faces: (F, 3) indices into `uv`.
        mirror: (V,) the vertex on the other side of the sagittal plane; empty where the mesh has no such symmetry.
        attributes: named identity attributes; see `AttributeAxis`.
        card: provenance, licence and how it was made.
    """

    name: str
    mean_shape: F32
    shape_basis: F32
    expression_basis: F32
    expression_names: tuple[str, ...]
    mean_albedo: F32
    albedo_basis: F32
    faces: I32
    face_part: npt.NDArray[np.uint8]
    part_names: tuple[str, ...]
    face_mask: npt.NDArray[np.bool_]
    landmarks68: I32
    landmarks_dense: I32
    uv: F32
    uv_faces: I32
    mirror: I32 = field(default_factory=lambda: np.zeros(0, np.int32))
    attributes: Mapping[str, AttributeAxis] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise MorphableModelError(f"morphable model {self.name!r}: " + "; ".join(problems))

    @property
    def num_vertices(self) -> int:
        """V."""
        return len(self.mean_shape)

    @property
    def num_shape(self) -> int:
        """Ks."""
        return len(self.shape_basis)

    @property
    def num_albedo(self) -> int:
        """Kt."""
        return len(self.albedo_basis)

    @property
    def num_expression(self) -> int:
        """Ke."""
        return len(self.expression_basis)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every array and name, whatever file it came from."""
        sha = hashlib.sha256(json.dumps(_config_of(self), sort_keys=True).encode())
        for name in _ARRAYS:
            sha.update(name.encode() + np.ascontiguousarray(getattr(self, name)).tobytes())
        return sha.hexdigest()

    @cached_property
    def face_vertices(self) -> npt.NDArray[np.intp]:
        """Indices of the vertices of the face mask."""
        return np.unique(self.faces[self.face_mask])

    @cached_property
    def head_vertices(self) -> npt.NDArray[np.intp]:
        """Indices of the vertices of the head without neck and shoulders."""
        neck = [n for n, name in enumerate(self.part_names) if name == "neck"]
        return np.unique(self.faces[~np.isin(self.face_part, neck)])

    def layout(self, *, num_noise: int = 32) -> FactorLayout:
        """The sizes and names of λ that this model takes."""
        return FactorLayout(
            num_shape=self.num_shape,
            num_albedo=self.num_albedo,
            expression_names=self.expression_names,
            num_noise=num_noise,
            attributes=self._measured_attributes,
        )

    @cached_property
    def _measured_attributes(self) -> dict[str, AttributeAxis]:
        from synthface.morphable.tone import tone_axis

        attributes = dict(self.attributes)
        axis = attributes.get("skin_tone_ita_deg")
        if axis is not None and len(axis.components) > 1:
            attributes["skin_tone_ita_deg"] = tone_axis(self, axis)
        return attributes

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors` (bases as float16) and `config.json` with its hash into `folder`."""
        from safetensors.numpy import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        arrays |= {name: arrays[name].astype(np.float16) for name in _HALVED}
        weights = save(arrays)
        (folder / WEIGHTS).write_bytes(weights)
        config = {"format": FORMAT, "sha256": hashlib.sha256(weights).hexdigest(), **_config_of(self)}
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path | None = None) -> MorphableBasis:
        """Read a model that `save` wrote; the bundled default when `folder` is None.

        Raises:
            MorphableModelError: files are missing, of another format, or differ from their hash.
        """
        return _bundled() if folder is None else _load(Path(folder))

    def _problems(self) -> list[str]:
        found = []
        for name, (dtype, ndim) in _ARRAYS.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != ndim:
                found.append(f"{name} is {array.dtype} with {array.ndim} axes, not {np.dtype(dtype)} with {ndim}")
        if found:
            return found
        num_vertices, num_faces = len(self.mean_shape), len(self.faces)
        shapes = {
            "shape_basis": (len(self.shape_basis), num_vertices, 3),
            "expression_basis": (len(self.expression_names), num_vertices, 3),
            "mean_albedo": (num_vertices, 3),
            "albedo_basis": (len(self.albedo_basis), num_vertices, 3),
            "faces": (num_faces, 3),
            "face_part": (num_faces,),
            "face_mask": (num_faces,),
            "landmarks68": (68,),
            "uv_faces": (num_faces, 3),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                found.append(f"{name} has shape {getattr(self, name).shape}, not {shape}")
        for name in ("faces", "landmarks68", "landmarks_dense", "mirror"):
            array = getattr(self, name)
            if array.size and (array.min() < 0 or array.max() >= num_vertices):
                found.append(f"{name} points outside the {num_vertices} vertices")
        if self.uv_faces.size and (self.uv_faces.min() < 0 or self.uv_faces.max() >= len(self.uv)):
            found.append(f"uv_faces points outside the {len(self.uv)} texture coordinates")
        if self.mirror.size not in (0, num_vertices):
            found.append(f"mirror has {self.mirror.size} entries, not {num_vertices}")
        if self.face_part.size and int(self.face_part.max()) >= len(self.part_names):
            found.append(
                f"face_part goes up to {self.face_part.max()}, but there are {len(self.part_names)} part names"
            )
        return found


def _config_of(basis: MorphableBasis) -> dict[str, Any]:
    attributes = {
        name: {
            "unit": axis.unit,
            "values": axis.values.tolist(),
            "coefficients": axis.coefficients.tolist(),
            "space": axis.space,
            "components": list(axis.components),
        }
        for name, axis in basis.attributes.items()
    }
    return {
        "name": basis.name,
        "expression_names": list(basis.expression_names),
        "part_names": list(basis.part_names),
        "attributes": attributes,
        "card": dict(basis.card),
    }


def _axis_from(config: Mapping[str, Any]) -> AttributeAxis:
    return AttributeAxis(
        unit=config["unit"],
        values=np.asarray(config["values"], np.float64),
        coefficients=np.asarray(config["coefficients"], np.float64),
        space=config["space"],
        components=tuple(config["components"]),
    )


@lru_cache(maxsize=1)
def _bundled() -> MorphableBasis:
    with resources.as_file(resources.files("synthface") / "assets" / "morphable" / "makehuman-head") as folder:
        return _load(folder)


def _load(folder: Path) -> MorphableBasis:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        weights = (folder / WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise MorphableModelError(
            f"{folder}: no {Path(error.filename).name} there; a morphable model is a folder with {WEIGHTS} and {CONFIG}, "
            "as `python -m training morphable build` or `import` writes it"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MorphableModelError(f"{folder / CONFIG}: not JSON ({error}); copy the model anew") from error
    if config.get("format") != FORMAT:
        raise MorphableModelError(
            f"{folder / CONFIG}: format is {config.get('format')!r}, this version reads {FORMAT!r}; build it again"
        )
    found = hashlib.sha256(weights).hexdigest()
    if found != config["sha256"]:
        raise MorphableModelError(
            f"{folder / WEIGHTS}: its SHA-256 is {found[:12]}…, config.json says {config['sha256'][:12]}…; "
            "the file is damaged or of another version: copy the model anew"
        )
    try:
        arrays = load(weights)
    except SafetensorError as error:
        raise MorphableModelError(f"{folder / WEIGHTS}: {error}; copy the model anew") from error
    missing = sorted(set(_ARRAYS) - set(arrays))
    if missing:
        raise MorphableModelError(f"{folder / WEIGHTS}: no {', '.join(missing)} in it; build the model again")
    return MorphableBasis(
        name=config["name"],
        expression_names=tuple(config["expression_names"]),
        part_names=tuple(config["part_names"]),
        attributes={name: _axis_from(axis) for name, axis in config["attributes"].items()},
        card=config["card"],
        **{name: arrays[name].astype(dtype) for name, (dtype, _) in _ARRAYS.items()},
    )
