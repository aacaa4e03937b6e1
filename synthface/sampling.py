"""Rows to factors: what every sample shows, drawn from its own keyed streams. Pure NumPy.

One named stream per leaf: adding a factor, a condition or more images leaves all other values as they were. An image's
streams are keyed by (identity, number within the condition), an identity's by its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from synthface.columns import Column, Origin, check_unique
from synthface.designs import cell_levels, correlated, joint_rows, num_cells, sobol
from synthface.errors import SynthfaceError
from synthface.factors import expression as expressions
from synthface.factors import lighting as lights
from synthface.factors.pose import AXES, rotation_matrix
from synthface.factors.priors import draw_prior
from synthface.factors.types import FactorBatch
from synthface.identities import ATTRIBUTES, identity_factors
from synthface.plan import KEY_DIGITS, Plan, Rows
from synthface.seeding import normals, stream_uniforms
from synthface.spec.model import (
    Environment,
    ExpressionMixture,
    FactorPrior,
    Factors,
    Joint,
    Leaf,
    LeftOut,
    LightRig,
    Named,
    Neutral,
    Per,
    Pose,
    SHLighting,
)

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_RANK: Mapping[Per, int] = {"dataset": 0, "identity": 1, "image": 2}


@dataclass(frozen=True)
class Samples:
    """N samples before there is a picture.

    Args:
        rows: which rows they are.
        factors: λ and ε.
        columns: label name to values (N, …), for every column that `columns_of` declares.
    """

    rows: Rows
    factors: FactorBatch
    columns: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.rows.index)


@dataclass
class _Drawn:
    """Values of one stratum's rows, filled in step by step."""

    pose_rad: F64
    expression: F64
    sh: F64
    noise: F64
    columns: dict[str, npt.NDArray[Any]]


def sample(plan: Plan, index: npt.ArrayLike, *, draw: int = 0) -> Samples:
    """The factors and labels of rows `index` (N,). The same row gives the same values in any company.

    `draw` > 0 is another draw of all that is drawn per image.
    """
    rows = plan.rows(index)
    shape, albedo, attributes = identity_factors(plan.spec, plan.layout, rows.person, plan.reused)
    parts = []
    for number in np.unique(rows.stratum):
        where = np.flatnonzero(rows.stratum == number)
        parts.append((where, _draw_stratum(plan, int(number), _take(rows, where), draw)))
    drawn = _joined(parts, len(rows.index))
    factors = FactorBatch(
        shape=shape,
        albedo=albedo,
        expression=drawn.expression.astype(np.float32),
        sh=drawn.sh.astype(np.float32),
        pose_rad=drawn.pose_rad.astype(np.float32),
        noise=drawn.noise.astype(np.float32),
    )
    columns = {**_planned(plan, rows), **_requested(plan, factors, attributes), **drawn.columns}
    declared = columns_of(plan)
    # A lamp that none of these rows' conditions has: its columns are 0, as the declaration says.
    absent = np.zeros(len(rows.index), np.float32)
    return Samples(rows, factors, {column.name: columns.get(column.name, absent) for column in declared})


def redraw(plan: Plan, samples: Samples, where: I64, draw: int, what: Literal["noise", "factors"]) -> Samples:
    """The samples (N,) with rows `where` (M,) of them drawn again, for the `draw`-th time; degradations stay.

    Args:
        plan: theirs.
        samples: as they were drawn first.
        where: which.
        draw: from 1; each gives other numbers.
        what: `noise`: ε alone; `factors`: all that is drawn per image.
    """
    rows = _take(samples.rows, where)
    if what == "factors":
        again = sample(plan, rows.index, draw=draw)
    else:
        names = [stratum.name for stratum in plan.strata]
        noise = np.empty((len(where), plan.layout.num_noise), np.float32)
        for number in np.unique(rows.stratum):
            mine = np.flatnonzero(rows.stratum == number)
            part = _take(rows, mine)
            noise[mine] = _noise(plan, _stream(names[number], draw), part, part.key, "image")
        first = samples.factors[where]
        columns = {name: values[where] for name, values in samples.columns.items()}
        again = Samples(
            rows, replace(first, noise=noise), {**columns, **({"noise": noise} if "noise" in columns else {})}
        )
    kept = tuple(name for name in samples.columns if name.startswith("post"))
    columns = {
        name: values if name in kept else _with_rows(values, where, again.columns[name])
        for name, values in samples.columns.items()
    }
    factors = {
        name: _with_rows(values, where, getattr(again.factors, name)) for name, values in vars(samples.factors).items()
    }
    return Samples(samples.rows, FactorBatch(**factors), columns)


def _with_rows(values: npt.NDArray[Any], where: I64, new: npt.NDArray[Any]) -> npt.NDArray[Any]:
    result = values.astype(np.result_type(values, new)) if values.dtype.kind == "U" else values.copy()
    result[where] = new
    return result


def _stream(name: str, draw: int) -> str:
    """What image streams are named after: the condition, and which draw it is."""
    return name if draw == 0 else f"{name}/draw{draw}"


# ------------------------------------------------------------------------------------------------------ one stratum


def _draw_stratum(plan: Plan, number: int, rows: Rows, draw: int) -> _Drawn:
    """All factors of rows that belong to one stratum."""
    if plan.spec.design.kind == "one_factor":
        return _one_factor(plan, rows)
    stratum = plan.strata[number]
    stream = _stream(stratum.name, draw)
    leaves = _leaves(plan, stratum.factors)
    fixed: dict[str, F64] = {}
    columns: dict[str, npt.NDArray[Any]] = {}
    if plan.spec.design.kind == "factorial":
        cell = rows.within % num_cells(plan.spec.design.axes, leaves)
        fixed = cell_levels(plan.spec.design.axes, leaves, cell)
        columns["cell"] = cell
    values = _values(plan, stream, leaves, rows, rows.key, order=rows.identity * plan.counts[number] + rows.within)
    values.update(fixed)
    return _assemble(plan, stream, stratum.factors, values, rows, rows.key, columns)


def _one_factor(plan: Plan, rows: Rows) -> _Drawn:
    """An anchor per identity; every other image differs from it in one leaf or factor only."""
    design = plan.spec.design
    anchor_key = rows.person << 24
    anchor_leaves = _leaves(plan, plan.spec.anchor_factors)
    varied_leaves = _leaves(plan, plan.spec.factors)
    anchor = _values(plan, "anchor", anchor_leaves, rows, anchor_key, order=rows.identity)
    base = _assemble(plan, "anchor", plan.spec.anchor_factors, anchor, rows, anchor_key, {})
    which = np.where(rows.image == 0, -1, (rows.image - 1) // max(design.steps, 1))
    names = np.array(["", *design.vary])
    base.columns["varied"] = names[which + 1]
    base.columns["pair_id"] = rows.identity.copy()
    for number, path in enumerate(design.vary):
        mine = np.flatnonzero(which == number)
        if len(mine):
            part = _take(rows, mine)
            steps = (part.image - 1) % design.steps
            _vary(plan, path, part, steps, varied_leaves, {k: v[mine] for k, v in anchor.items()}, base, mine)
    return base


def _vary(
    plan: Plan,
    path: str,
    rows: Rows,
    step: I64,
    leaves: dict[str, Leaf],
    anchor: dict[str, F64],
    base: _Drawn,
    where: I64,
) -> None:
    """Overwrite rows `where` of `base`: what `path` names is drawn anew, the rest is the anchor's."""
    factors = plan.spec.factors
    if path == "noise":
        base.noise[where] = _noise(plan, "varied", rows, rows.key, "image")
        return
    fresh = _values(plan, f"varied/{path}", leaves, rows, rows.key, order=rows.key)
    mixed = dict(fresh)
    if "." in path:
        # One leaf: even steps through its distribution, each jittered within its own step.
        u = stream_uniforms(plan.spec.seed, (f"varied/{path}/step",), rows.key)[:, 0]
        mixed = {**fresh, **{k: v for k, v in anchor.items() if k in fresh}}
        mixed[path] = leaves[path].distribution.ppf((step + u) / plan.spec.design.steps)
    drawn = _assemble(plan, f"varied/{path}", factors, mixed, rows, rows.key, {})
    factor = path.partition(".")[0]
    if factor == "pose":
        base.pose_rad[where] = drawn.pose_rad
    elif factor == "expression":
        base.expression[where] = drawn.expression
    elif factor == "lighting":
        base.sh[where] = drawn.sh
    for name in drawn.columns:
        if _factor_of_column(name) == factor:
            column = base.columns.setdefault(name, np.zeros(len(base.noise), np.float32))
            column[where] = drawn.columns[name]


def _factor_of_column(name: str) -> str:
    return "lighting" if name.startswith(("light", "ambient", "environment")) else ""


def _leaves(plan: Plan, factors: Factors) -> dict[str, Leaf]:
    """Path to leaf of a stratum: its factors, the degradations, and the attributes that drive others by a copula.

    Leaves in mixtures are drawn with the mixture.
    """
    leaves = dict(factors.leaves())
    driving = {path for correlation in plan.spec.correlate for path in correlation.between}
    attributes = ((f"{ATTRIBUTES}{name}", leaf) for name, leaf in plan.spec.identities.attributes.items())
    leaves |= {path: leaf for path, leaf in attributes if path in driving}
    leaves |= {f"output.post[{n}].{post.kind}": post.value for n, post in enumerate(plan.spec.output.post)}
    return leaves


def _values(plan: Plan, stream: str, leaves: dict[str, Leaf], rows: Rows, key: I64, *, order: I64) -> dict[str, F64]:
    """Every leaf's value (N,), after designs, copulas and joint tables; `u:` entries hold the uniforms of mixtures."""
    spec = plan.spec
    paths = tuple(leaves)
    u = np.empty((len(rows.index), len(paths)))
    for per, index in (("image", key), ("identity", rows.person), ("dataset", np.zeros_like(key))):
        mine = [n for n, path in enumerate(paths) if leaves[path].per == per]
        if not mine:
            continue
        names = tuple(f"{stream}/{paths[n]}" if per == "image" else paths[n] for n in mine)
        if per == "image" and spec.design.kind == "sobol":
            u[:, mine] = sobol(spec.seed, names, order)
        else:
            u[:, mine] = stream_uniforms(spec.seed, names, index)
    for correlation in spec.correlate:
        present = [path for path in correlation.between if path in leaves]
        if len(present) == len(correlation.between):
            where = [paths.index(path) for path in present]
            u = correlated(u, where, [_rank(path, leaves[path]) for path in present], correlation)
    values = {path: leaves[path].distribution.ppf(u[:, n]) for n, path in enumerate(paths)}
    values |= {f"u:{path}": u[:, n] for n, path in enumerate(paths)}
    for number, joint in enumerate(spec.joint):
        values |= _joint_values(plan, stream, number, joint, leaves, rows, key)
    return values


def _rank(path: str, leaf: Leaf) -> int:
    return -1 if path.startswith(ATTRIBUTES) else _RANK[leaf.per]


def _joint_values(
    plan: Plan, stream: str, number: int, joint: Joint, leaves: dict[str, Leaf], rows: Rows, key: I64
) -> dict[str, F64]:
    """The columns of one drawn row, taken whole."""
    index = {"image": key, "identity": rows.person, "dataset": np.zeros_like(key)}[joint.per]
    name = f"{stream}/joint[{number}]" if joint.per == "image" else f"joint[{number}]"
    row = joint_rows(joint, stream_uniforms(plan.spec.seed, (name,), index)[:, 0])
    return {path: joint.values[row, column] for column, path in enumerate(joint.columns) if path in leaves}


# ------------------------------------------------------------------------------------------------ leaves to factors


def _assemble(
    plan: Plan,
    stream: str,
    factors: Factors,
    values: dict[str, F64],
    rows: Rows,
    key: I64,
    columns: dict[str, npt.NDArray[Any]],
) -> _Drawn:
    """λ and ε of leaf values."""
    if isinstance(factors.pose, FactorPrior):
        pose = _from_prior(plan, stream, "pose", factors.pose, rows, key)
    else:
        assert isinstance(factors.pose, Pose), factors.pose
        pose = np.radians(np.stack([values[f"pose.{axis}"] for axis in AXES], axis=1))
    if isinstance(factors.lighting, FactorPrior):
        sh = _from_prior(plan, stream, "lighting", factors.lighting, rows, key).reshape(-1, 3, 9)
        described: dict[str, npt.NDArray[Any]] = {}
    else:
        sh, described = _lighting(factors, values, pose)
    for n, post in enumerate(plan.spec.output.post):
        described[f"post{n}_{post.kind}"] = values[f"output.post[{n}].{post.kind}"].astype(np.float32)
    return _Drawn(
        pose_rad=pose,
        expression=_expression(plan, stream, factors, values, rows, key),
        sh=sh,
        noise=_noise(plan, stream, rows, key, factors.noise.per),
        columns={**columns, **described},
    )


def _from_prior(plan: Plan, stream: str, factor: str, prior: FactorPrior, rows: Rows, key: I64) -> F64:
    """A whole factor (N, size) by the generator's prior."""
    if factor not in plan.layout.priors:
        raise _unresolved(factor, prior)
    index = {"image": key, "identity": rows.person, "dataset": np.zeros_like(key)}[prior.per]
    name = f"{stream}/{factor}" if prior.per == "image" else factor
    return draw_prior(plan.layout.priors[factor], plan.spec.seed, name, index, scale=prior.scale)


def _noise(plan: Plan, stream: str, rows: Rows, key: I64, per: Per) -> F64:
    index = {"image": key, "identity": rows.person, "dataset": np.zeros_like(key)}[per]
    name = f"{stream}/noise" if per == "image" else "noise"
    return normals(plan.spec.seed, name, index, plan.layout.num_noise)


def _expression(plan: Plan, stream: str, factors: Factors, values: dict[str, F64], rows: Rows, key: I64) -> F64:
    """Coefficients (N, Ke)."""
    expression, count = factors.expression, len(rows.index)
    if isinstance(expression, Neutral):
        return np.zeros((count, plan.layout.num_expression))
    if isinstance(expression, Named):
        return expressions.coefficients(
            {name: values[f"expression.{name}"] for name in expression.values}, plan.layout, count
        )
    if isinstance(expression, ExpressionMixture):
        return _expression_mixture(plan, stream, expression, values, rows, key)
    if isinstance(expression, FactorPrior):
        return _from_prior(plan, stream, "expression", expression, rows, key)
    raise _unresolved("expression", expression)


def _expression_mixture(
    plan: Plan, stream: str, mixture: ExpressionMixture, values: dict[str, F64], rows: Rows, key: I64
) -> F64:
    """One component per row; a leaf that stands in several components has one stream and its own distribution in each."""
    index = {"image": key, "identity": rows.person, "dataset": np.zeros_like(key)}[mixture.per]
    name = f"{stream}/expression.mixture" if mixture.per == "image" else "expression.mixture"
    u = stream_uniforms(plan.spec.seed, (name,), index)[:, 0]
    weights = np.array([weight for weight, _ in mixture.components])
    which = np.minimum(np.searchsorted(np.cumsum(weights) / weights.sum(), u, side="right"), len(weights) - 1)
    taken = {path for joint in plan.spec.joint for path in joint.columns}
    result = np.zeros((len(u), plan.layout.num_expression))
    for number, (_, component) in enumerate(mixture.components):
        mine = np.flatnonzero(which == number)
        if isinstance(component, Neutral) or not len(mine):
            continue
        if isinstance(component, FactorPrior):
            result[mine] = _from_prior(plan, stream, "expression", component, _take(rows, mine), key[mine])
            continue
        drawn = {}
        for action, leaf in component.values.items():
            path = f"expression.{action}"
            drawn[action] = values[path][mine] if path in taken else leaf.distribution.ppf(values[f"u:{path}"][mine])
        result[mine] = expressions.coefficients(drawn, plan.layout, len(mine))
    return result


def _lighting(factors: Factors, values: dict[str, F64], pose_rad: F64) -> tuple[F64, dict[str, npt.NDArray[Any]]]:
    """SH coefficients (N, 3, 9), camera frame, and the lighting columns."""
    lighting, count = factors.lighting, len(pose_rad)
    columns: dict[str, npt.NDArray[Any]] = {}
    if isinstance(lighting, LightRig):
        level = values["lighting.ambient"]
        columns["ambient"] = level.astype(np.float32)
        sh = lights.ambient(level)
        for number, light in enumerate(lighting.lights):
            get = {k: values[f"lighting.lights[{number}].{k}"] for k in ("azimuth", "elevation", "intensity")}
            kelvin = (
                None if light.colour_temperature is None else values[f"lighting.lights[{number}].colour_temperature"]
            )
            sh = sh + lights.directional(get["azimuth"], get["elevation"], get["intensity"], kelvin)
            columns[f"light{number}_azimuth_deg"] = get["azimuth"].astype(np.float32)
            columns[f"light{number}_elevation_deg"] = get["elevation"].astype(np.float32)
            columns[f"light{number}_intensity"] = get["intensity"].astype(np.float32)
            columns[f"light{number}_kelvin"] = (np.full(count, 6500.0) if kelvin is None else kelvin).astype(np.float32)
    elif isinstance(lighting, SHLighting):
        sh = np.broadcast_to(np.asarray(lighting.coefficients, np.float64), (count, 3, 9)).copy()
    elif isinstance(lighting, Environment):
        turn = values["lighting.environment.rotate"]
        about_y = np.stack([np.zeros(count), np.radians(turn), np.zeros(count)], axis=1)
        base = np.asarray(lighting.sh, np.float64) * values["lighting.environment.intensity"][:, None, None]
        sh = lights.rotate(base, rotation_matrix(about_y))
        columns["environment_rotate_deg"] = turn.astype(np.float32)
    else:
        raise _unresolved("lighting", lighting)
    if lighting.frame == "head":
        sh = lights.rotate(sh, rotation_matrix(pose_rad))
    return sh, columns


def _unresolved(name: str, found: FactorPrior | LeftOut | object) -> SynthfaceError:
    return SynthfaceError(
        f"factors.{name}: {type(found).__name__} can't be drawn; resolve the spec against a generator first"
    )


# ---------------------------------------------------------------------------------------------------------- columns


def columns_of(plan: Plan) -> tuple[Column, ...]:
    """Every column that `sample` fills, in order: planned, then requested."""
    planned = [
        Column(
            "key", "string", Origin.PLANNED, f"The sample's name in its shard: `index` in {KEY_DIGITS} digits or more."
        ),
        Column("index", "int64", Origin.PLANNED, "Row number in the dataset, from 0."),
        Column("identity", "int64", Origin.PLANNED, "Identity number, from 0; the class label `cls`."),
        Column("image", "int32", Origin.PLANNED, "Number of the image within its identity, from 0."),
        Column("split", "string", Origin.PLANNED, "Split; no identity is in two."),
        Column("condition", "string", Origin.PLANNED, "The spec's condition; `default` where it has none."),
    ]
    if plan.spec.design.kind == "factorial":
        planned.append(
            Column("cell", "int64", Origin.PLANNED, "Cell of the factorial design; its last axis is the fastest.")
        )
    if plan.spec.design.kind == "one_factor":
        planned.append(Column("pair_id", "int64", Origin.PLANNED, "Images with the same number share an anchor."))
        planned.append(
            Column("varied", "string", Origin.PLANNED, "What differs from the anchor; empty for the anchor.")
        )
    return check_unique([*planned, *_requested_columns(plan), *_lighting_columns(plan), *_post_columns(plan)])


def _requested_columns(plan: Plan) -> list[Column]:
    asked = Origin.REQUESTED
    signs = {
        "yaw": "> 0 turns the face to the image's right",
        "pitch": "> 0 looks down",
        "roll": "> 0 turns the head counter-clockwise in the image",
    }
    columns = [
        Column(
            f"{axis}_deg",
            "float32",
            asked,
            f"Head {axis}: {signs[axis]}; R = R_z(roll) R_y(yaw) R_x(pitch).",
            unit="degree",
            frame="camera",
        )
        for axis in ("yaw", "pitch", "roll")
    ]
    columns += [
        Column(
            f"expression_{name}",
            "float32",
            asked,
            f"Action {name}: 0 relaxed to 1 full; left and right are the subject's.",
        )
        for name in plan.layout.expression_names
    ]
    columns += [
        Column(
            "sh",
            "float32",
            asked,
            "Lighting: 9 spherical-harmonic coefficients for each of R, G, B; order 1, −y, z, −x, xy, −yz, 3z²−1, −xz, x²−y².",
            (3, 9),
            frame="camera",
        ),
        Column(
            "light_azimuth_deg",
            "float32",
            asked,
            "Where most light comes from, by the first SH band: 0 the camera, > 0 the image's right; 0 without one.",
            unit="degree",
            frame="camera",
        ),
        Column(
            "light_elevation_deg",
            "float32",
            asked,
            "The same direction's elevation: > 0 from above.",
            unit="degree",
            frame="camera",
        ),
    ]
    columns += [
        Column(name, "float32", asked, f"Identity attribute {name}.", unit=axis.unit)
        for name, axis in plan.layout.attributes.items()
    ]
    if "lambda" in plan.spec.output.annotations:
        sizes = {"shape": plan.layout.num_shape, "albedo": plan.layout.num_albedo, "noise": plan.layout.num_noise}
        meaning = {
            "shape": "Identity coefficients of geometry, standard deviations.",
            "albedo": "Identity coefficients of skin colour, standard deviations.",
            "noise": "ε: what the generator was given besides λ.",
        }
        columns += [Column(name, "float32", asked, meaning[name], (size,)) for name, size in sizes.items()]
    return columns


def _rigs(plan: Plan) -> list[object]:
    factors = [*(stratum.factors for stratum in plan.strata), plan.spec.anchor_factors]
    return [f.lighting for f in factors]


def _lighting_columns(plan: Plan) -> list[Column]:
    """Requested lamps; in conditions that lack one, its intensity is 0."""
    asked, rigs = Origin.REQUESTED, [r for r in _rigs(plan) if isinstance(r, LightRig)]
    columns = (
        [
            Column(
                "ambient",
                "float32",
                asked,
                "Level of white light from everywhere: a white surface reads it; 0 where the lighting is no rig.",
            )
        ]
        if rigs
        else []
    )
    for n in range(max((len(rig.lights) for rig in rigs), default=0)):
        frame = rigs[0].frame if len({rig.frame for rig in rigs}) == 1 else "camera or head, as the condition says"
        columns += [
            Column(
                f"light{n}_azimuth_deg",
                "float32",
                asked,
                f"Lamp {n}: 0 from the camera, > 0 from the image's right.",
                unit="degree",
                frame=frame,
            ),
            Column(
                f"light{n}_elevation_deg", "float32", asked, f"Lamp {n}: > 0 from above.", unit="degree", frame=frame
            ),
            Column(
                f"light{n}_intensity",
                "float32",
                asked,
                f"Lamp {n}: a white surface facing it reads this; 0 where there is no such lamp.",
            ),
            Column(f"light{n}_kelvin", "float32", asked, f"Lamp {n}: colour temperature.", unit="kelvin"),
        ]
    if any(isinstance(r, Environment) for r in _rigs(plan)):
        columns.append(
            Column(
                "environment_rotate_deg",
                "float32",
                asked,
                "Turn of the environment map about the vertical: > 0 moves light to the image's right.",
                unit="degree",
                frame="camera",
            )
        )
    return columns


def _post_columns(plan: Plan) -> list[Column]:
    units = {"jpeg_quality": "", "blur_px": "px", "gaussian_noise": "8-bit levels", "resize_px": "px", "grayscale": ""}
    return [
        Column(
            f"post{n}_{post.kind}", "float32", Origin.REQUESTED, f"Degradation {n}: {post.kind}.", unit=units[post.kind]
        )
        for n, post in enumerate(plan.spec.output.post)
    ]


def keys(index: I64) -> npt.NDArray[np.str_]:
    """Zero-padded names (N,) of rows."""
    return np.char.zfill(index.astype(str), KEY_DIGITS)


def _planned(plan: Plan, rows: Rows) -> dict[str, npt.NDArray[Any]]:
    return {
        "key": keys(rows.index),
        "index": rows.index,
        "identity": rows.identity,
        "image": rows.image.astype(np.int32),
        "split": np.array([split.name for split in plan.splits])[rows.split],
        "condition": np.array([stratum.name for stratum in plan.strata])[rows.stratum],
    }


def _requested(plan: Plan, factors: FactorBatch, attributes: Mapping[str, F64]) -> dict[str, npt.NDArray[Any]]:
    degrees = np.degrees(factors.pose_rad.astype(np.float64)).astype(np.float32)
    direction = lights.dominant_direction(factors.sh).astype(np.float32)
    columns: dict[str, npt.NDArray[Any]] = {f"{axis}_deg": degrees[:, n] for n, axis in enumerate(AXES)}
    columns |= {f"expression_{name}": factors.expression[:, n] for n, name in enumerate(plan.layout.expression_names)}
    columns |= {"sh": factors.sh, "light_azimuth_deg": direction[:, 0], "light_elevation_deg": direction[:, 1]}
    columns |= {name: attributes[name].astype(np.float32) for name in plan.layout.attributes}
    return columns | {"shape": factors.shape, "albedo": factors.albedo, "noise": factors.noise}


# ------------------------------------------------------------------------------------------------------- bookkeeping


def _take(rows: Rows, where: I64) -> Rows:
    return Rows(**{name: values[where] for name, values in vars(rows).items()})


def _joined(parts: list[tuple[I64, _Drawn]], count: int) -> _Drawn:
    """Strata put back in the order of the rows; a lighting column that a stratum lacks is 0 there."""
    first = parts[0][1]
    names = {name: values for _, drawn in parts for name, values in drawn.columns.items()}
    result = _Drawn(
        **{k: np.empty((count, *getattr(first, k).shape[1:])) for k in ("pose_rad", "expression", "sh", "noise")},
        columns={name: np.zeros(count, values.dtype) for name, values in names.items()},
    )
    for where, drawn in parts:
        for name in ("pose_rad", "expression", "sh", "noise"):
            getattr(result, name)[where] = getattr(drawn, name)
        for name, values in drawn.columns.items():
            result.columns[name][where] = values
    return result
