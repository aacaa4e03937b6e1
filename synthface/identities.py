"""Who the images show: identity coefficients by number, and the table that records or reuses them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.designs import correlated, joint_rows
from synthface.errors import DatasetError
from synthface.factors.priors import draw_prior
from synthface.factors.types import AttributeAxis, FactorLayout
from synthface.morphable.skin import individual_typology_angle, mean_colour
from synthface.morphable.tone import with_tone
from synthface.seeding import normals, stream_uniforms
from synthface.spec.model import Correlation, Spec

if TYPE_CHECKING:
    import pyarrow as pa

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: What the paths of attributes begin with.
ATTRIBUTES = "identities.attributes."
#: Identities per row group of `identities.parquet`.
_ROWS = 4096
#: Columns and metadata of `identities.parquet` that only a choice adds.
_OF_A_CHOICE, _REPORT = ("person", "nearest_distance", "descriptor"), "synthface.choice"


@dataclass(frozen=True)
class IdentityTable:
    """Identities of an earlier dataset.

    Args:
        shape: (I, Ks) coefficients of geometry.
        albedo: (I, Kt) coefficients of skin colour.
        attributes: name to (I,) values.
        digest: SHA-256 of the content.
        source: where it was read.
    """

    shape: F32
    albedo: F32
    attributes: Mapping[str, npt.NDArray[np.float64]]
    digest: str
    source: str

    def __len__(self) -> int:
        return len(self.shape)


@dataclass(frozen=True)
class ChosenIdentities:
    """Which draws became a dataset's identities, where they had to be apart, balanced, or known to f_id.

    Args:
        persons: (I,) the number of the draw that each identity is: what its streams are keyed by.
        descriptors: (I, D) f_id of its standard picture, centred, of length 1; None where nothing asks for it.
        nearest_distance: (I,) distance to the nearest other identity; None where they needn't be apart.
        report: asked, found and tried, as plain data; see `quality.choice`.
    """

    persons: I64
    descriptors: F32 | None
    nearest_distance: F32 | None
    report: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.persons)


def identity_factors(
    spec: Spec, layout: FactorLayout, identity: I64, reused: IdentityTable | None = None
) -> tuple[F32, F32, dict[str, npt.NDArray[np.float64]]]:
    """Shape (N, Ks), albedo (N, Kt) and attributes of identities (N,).

    Coefficients come from the generator's prior, or are standard normal where it has none, times the prior's scale; an
    attribute then overwrites the components it stands on.
    """
    if reused is not None:
        chosen = {name: values[identity] for name, values in reused.attributes.items()}
        return reused.shape[identity], reused.albedo[identity], chosen
    shape, albedo = _coefficients(spec, layout, identity)
    attributes: dict[str, npt.NDArray[np.float64]] = {}
    for name, value in attribute_values(spec, identity).items():
        attributes[name] = value
        apply_attribute(layout.attributes[name], attributes[name], shape, albedo)
    for name in layout.attributes:
        if name not in attributes:
            attributes[name] = read_attribute(layout.attributes[name], shape, albedo)
    return shape.astype(np.float32), albedo.astype(np.float32), attributes


def _coefficients(spec: Spec, layout: FactorLayout, identity: I64) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    scale = spec.identities.sample.scale
    if "identity" in layout.priors:
        both = draw_prior(layout.priors["identity"], spec.seed, "identity", identity, scale=scale)
        return both[:, : layout.num_shape], both[:, layout.num_shape :]
    shape = scale * normals(spec.seed, "identity.shape", identity, layout.num_shape)
    return shape, scale * normals(spec.seed, "identity.albedo", identity, layout.num_albedo)


def attribute_values(spec: Spec, identity: I64) -> dict[str, npt.NDArray[np.float64]]:
    """The attributes that the spec asks for, of identities (N,): drawn, correlated with each other, or from a table.

    What else they are correlated with follows them: see `designs.correlated`, whose rank -1 they have.
    """
    paths = tuple(f"{ATTRIBUTES}{name}" for name in spec.identities.attributes)
    leaves = tuple(spec.identities.attributes.values())
    index = (
        np.stack([identity if leaf.per == "identity" else np.zeros_like(identity) for leaf in leaves])
        if leaves
        else identity
    )
    u = stream_uniforms(spec.seed, paths, index)
    for correlation in spec.correlate:
        mine = [n for n, path in enumerate(correlation.between) if path in paths]
        if len(mine) > 1:
            block = tuple(tuple(correlation.rho[i][j] for j in mine) for i in mine)
            among = Correlation(tuple(correlation.between[n] for n in mine), block)
            u = correlated(u, [paths.index(path) for path in among.between], [-1] * len(mine), among)
    values = {path: leaf.distribution.ppf(u[:, n]) for n, (path, leaf) in enumerate(zip(paths, leaves, strict=True))}
    for number, joint in enumerate(spec.joint):
        index = identity if joint.per == "identity" else np.zeros_like(identity)
        row = joint_rows(joint, stream_uniforms(spec.seed, (f"joint[{number}]",), index)[:, 0])
        values |= {path: joint.values[row, c] for c, path in enumerate(joint.columns) if path in values}
    return {path.removeprefix(ATTRIBUTES): value for path, value in values.items()}


def attribute_of(spec: Spec, layout: FactorLayout, name: str, identity: I64) -> npt.NDArray[np.float64]:
    """One attribute (N,) of identities (N,); cheaper than `identity_factors` where it needs no more than that."""
    if name in spec.identities.attributes:
        return attribute_values(spec, identity)[name]
    # Another attribute may stand on the same components, and a prior draws them all together.
    if spec.identities.attributes or "identity" in layout.priors:
        return identity_factors(spec, layout, identity)[2][name]
    axis = layout.attributes[name]
    count = axis.components[0] + 1 if axis.colour is None else layout.num_albedo
    drawn = spec.identities.sample.scale * normals(spec.seed, f"identity.{axis.space}", identity, count)
    return read_attribute(axis, drawn, drawn)


def apply_attribute(
    axis: AttributeAxis, values: npt.NDArray[np.float64], shape: npt.NDArray[Any], albedo: npt.NDArray[Any]
) -> None:
    """Set an attribute in place: its components in `shape` or `albedo` (N, K); tones of learned skin move all of `albedo`."""
    if axis.colour is not None:
        albedo[:] = with_tone(axis, values, albedo)
        return
    target = albedo if axis.space == "albedo" else shape
    for column, component in enumerate(axis.components):
        target[:, component] = np.interp(values, axis.values, axis.coefficients[:, column])


def read_attribute(axis: AttributeAxis, shape: npt.NDArray[Any], albedo: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The attribute's value (N,) of given coefficients, held at the ends of its scale.

    Skin tones of models whose albedo was learned follow from the colour itself; others are read off their first component.
    """
    if axis.colour is not None:
        colour = mean_colour(axis.colour, albedo).clip(1e-4, 1.0)
        return individual_typology_angle(colour).clip(axis.values[0], axis.values[-1])
    target = albedo if axis.space == "albedo" else shape
    coefficients = axis.coefficients[:, 0]
    if coefficients[0] > coefficients[-1]:
        return np.interp(target[:, axis.components[0]], coefficients[::-1], axis.values[::-1])
    return np.interp(target[:, axis.components[0]], coefficients, axis.values)


def identity_schema(layout: FactorLayout, chosen: ChosenIdentities | None = None) -> pa.Schema:
    """Columns of `identities.parquet`; those of a choice come last, and its report is the schema's metadata."""
    import pyarrow as pa

    more: list[pa.Field] = []
    if chosen is not None:
        more.append(pa.field("person", pa.int64(), nullable=False))
        if chosen.nearest_distance is not None:
            more.append(pa.field("nearest_distance", pa.float32(), nullable=False))
        if chosen.descriptors is not None:
            kind = pa.list_(pa.float32(), chosen.descriptors.shape[1])
            more.append(pa.field("descriptor", kind, nullable=False))
    about = None if chosen is None else {_REPORT: json.dumps(chosen.report, sort_keys=True)}
    return pa.schema(
        [
            pa.field("identity", pa.int64(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("shape", pa.list_(pa.float32(), layout.num_shape), nullable=False),
            pa.field("albedo", pa.list_(pa.float32(), layout.num_albedo), nullable=False),
            *(pa.field(name, pa.float64(), nullable=False) for name in sorted(layout.attributes)),
            *more,
        ],
        metadata=about,
    )


def identity_batches(
    spec: Spec,
    layout: FactorLayout,
    splits: list[tuple[str, int, int]],
    reused: IdentityTable | None = None,
    chosen: ChosenIdentities | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of `identities.parquet`, a bounded number at a time; `splits` are (name, first, last) identities."""
    import pyarrow as pa

    schema = identity_schema(layout, chosen)
    for split, first, last in splits:
        for start in range(first, last, _ROWS):
            identity = np.arange(start, min(start + _ROWS, last))
            persons = identity if chosen is None else chosen.persons[identity]
            shape, albedo, attributes = identity_factors(spec, layout, persons, reused)
            arrays = [
                pa.array(identity),
                pa.array([split] * len(identity)),
                pa.FixedSizeListArray.from_arrays(pa.array(shape.ravel()), layout.num_shape),
                pa.FixedSizeListArray.from_arrays(pa.array(albedo.ravel()), layout.num_albedo),
                *(pa.array(attributes[name], pa.float64()) for name in sorted(layout.attributes)),
                *_chosen_arrays(chosen, identity),
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _chosen_arrays(chosen: ChosenIdentities | None, identity: I64) -> list[pa.Array]:
    import pyarrow as pa

    if chosen is None:
        return []
    arrays = [pa.array(chosen.persons[identity])]
    if chosen.nearest_distance is not None:
        arrays.append(pa.array(chosen.nearest_distance[identity]))
    if chosen.descriptors is not None:
        values = chosen.descriptors[identity]
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]))
    return arrays


def read_chosen(content: bytes) -> ChosenIdentities | None:
    """The choice that a dataset's `identities.parquet` records; None where all draws were taken as they came."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(content))
    if "person" not in table.column_names:
        return None

    def numbers(name: str) -> npt.NDArray[Any] | None:
        if name not in table.column_names:
            return None
        column = table.column(name).combine_chunks()
        if not pa.types.is_fixed_size_list(column.type):
            return np.asarray(column.to_numpy(zero_copy_only=False))
        flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False))
        return flat.reshape(len(column), column.type.list_size)

    persons = numbers("person")
    assert persons is not None
    report = json.loads(table.schema.metadata[_REPORT.encode()])
    return ChosenIdentities(persons, numbers("descriptor"), numbers("nearest_distance"), report)


def identity_digest(spec: Spec, layout: FactorLayout, reused: IdentityTable | None) -> str:
    """What decides every identity of a dataset: reused ones by content, drawn ones by their rule."""
    if reused is not None:
        return reused.digest
    words = spec.to_dict()
    rule = {
        "seed": spec.seed,
        "count": spec.identities.count,
        "identities": words["identities"],
        "drawn_together": [
            part for key in ("correlate", "joint") for part in words.get(key, []) if ATTRIBUTES in json.dumps(part)
        ],
        "files": {joint.table.name: joint.table.sha256 for joint in spec.joint},
        "num_shape": layout.num_shape,
        "num_albedo": layout.num_albedo,
    }
    return hashlib.sha256(json.dumps(rule, sort_keys=True, default=str).encode()).hexdigest()


def read_identities(content: bytes, source: str, layout: FactorLayout, count: int) -> IdentityTable:
    """The identities of an earlier dataset, from the bytes of its `identities.parquet`.

    Raises:
        DatasetError: it isn't such a table, comes from a generator with another layout, or has too few identities.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(content))
    except pa.ArrowException as error:
        raise DatasetError(f"{source}: not a Parquet table ({error}); copy the dataset anew") from error
    theirs = {field.name: field.type for field in table.schema if field.name not in _OF_A_CHOICE}
    ours = {field.name: field.type for field in identity_schema(layout)}
    if theirs != ours:
        differing = sorted((name, str(kind)) for name, kind in set(theirs.items()) ^ set(ours.items()))
        raise DatasetError(
            f"{source}: its identities don't fit this generator ({differing[0][0]}: {differing[0][1]}); "
            "reuse identities with the generator that made them"
        )
    if table.num_rows < count:
        raise DatasetError(
            f"{source}: has {table.num_rows} identities, the spec asks for {count}; lower identities.count"
        )

    def matrix(name: str, width: int) -> F32:
        flat = table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, width).astype(np.float32)

    return IdentityTable(
        shape=matrix("shape", layout.num_shape),
        albedo=matrix("albedo", layout.num_albedo),
        attributes={name: table.column(name).to_numpy() for name in sorted(layout.attributes)},
        digest=hashlib.sha256(content).hexdigest(),
        source=source,
    )
