"""What the parts of a spec must be to each other: names that must exist, counts that must fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from synthface.spec.build import named_leaf_places
from synthface.spec.checks import clashes_after_merging
from synthface.spec.distributions import Constant, Grid
from synthface.spec.leaves import reach
from synthface.spec.merge import long_form, merged_factors
from synthface.spec.model import (
    DEFAULT_CONDITION,
    Correlation,
    ExpressionMixture,
    FactorPrior,
    Factors,
    Leaf,
    LeftOut,
    Spec,
)
from synthface.spec.names import AUDIT_LIMITS, FACTOR_NAMES, limits_of
from synthface.spec.reader import Finding, Place
from synthface.spec.schema import listed, shown, suggestion

MAX_IMAGES = 1_000_000_000


def relation_findings(spec: Spec, data: Mapping[str, Any], broken: frozenset[str]) -> list[Finding]:
    """Everything that doesn't fit together.

    Args:
        spec: built from `data`.
        data: the sound part of the document.
        broken: words of the places where something is wrong already; what depends on them isn't judged.
    """
    checks = [
        (_counts, {"images_per_identity", "conditions", "identities", "count", "design"}),
        (_leaf_names, set()),
        (_joints_and_correlations, {"joint", "correlate"}),
        (_designs, {"design", "images_per_identity", "conditions"}),
        (_splits, {"splits"}),
        (_split_sizes, {"splits", "identities", "count"}),
        (_pairs, {"pairs", "splits", "conditions", "design"}),
        (_pair_capacity, {"pairs", "splits", "conditions", "images_per_identity", "identities", "count", "design"}),
        (_post, {"output"}),
        (_audit, {"quality", "design"}),
    ]
    findings = [f for check, needs in checks if not needs & broken for f in check(spec, data)]
    findings += _merged_clashes(data) if not {"conditions", "expression"} & broken else []
    return [f for f in findings if not _is_about(f, broken)]


def _is_about(finding: Finding, broken: frozenset[str]) -> bool:
    """Whether a finding on a leaf's name may come from what is wrong already."""
    if finding.place[:1] not in (("joint",), ("correlate",), ("design",)):
        return False
    factors = {name for name in (*FACTOR_NAMES, "attributes", "post") if f"'{name}" in finding.message}
    return bool(factors & broken) or ("factors" in broken and bool(factors))


def _merged_clashes(data: Mapping[str, Any]) -> list[Finding]:
    base = {name: long_form(name, factor) for name, factor in data.get("factors", {}).items()}
    given = data.get("conditions", {})
    alone = {f.place for name in given for f in clashes_after_merging(("conditions", name), _long(given[name]))}
    complete = {name: merged_factors(base, given[name]) for name in given}
    merged = [f for name in given for f in clashes_after_merging(("conditions", name), complete[name])]
    in_base = {f.place[2:] for f in clashes_after_merging(("factors", ""), base)}
    return [f for f in merged if f.place not in alone and f.place[2:] not in in_base]


def _long(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {name: long_form(name, condition[name]) for name in FACTOR_NAMES if name in condition}


# ------------------------------------------------------------------------------------------------------------ counts


def _counts(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    counts = data["images_per_identity"]
    place: Place = ("images_per_identity",)
    names = [condition.name for condition in spec.conditions]
    if spec.design.kind == "one_factor":
        if isinstance(counts, Mapping):
            yield Finding(place, "a one_factor design takes one number: 1 + things varied × steps")
    elif isinstance(counts, Mapping) and not names:
        yield Finding(place, f"found numbers for {listed(list(counts))}, but there are no conditions; write one number")
    elif not isinstance(counts, Mapping) and names:
        example = ", ".join(f"{name}: {shown(counts)}" for name in names[:3])
        yield Finding(place, f"found one number, but there are conditions; write a number for each: {{{example}}}")
    elif isinstance(counts, Mapping):
        for name in counts:
            if name not in names:
                message = f"there is no condition {name!r}; allowed: {listed(names)}{suggestion(name, names)}"
                yield Finding((*place, name), message, on_key=True)
        for name in names:
            if name not in counts:
                message = "this condition has no number in images_per_identity; add one there, or remove the condition"
                yield Finding(("conditions", name), message, on_key=True)
    if spec.num_images > MAX_IMAGES:
        each = sum(spec.images_per_identity.values())
        message = f"found {spec.num_images} images ({spec.identities.count} identities × {each})"
        yield Finding(("identities", "count"), f"{message}; allowed: at most {MAX_IMAGES}")


def _splits(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    total = sum(spec.splits.values())
    if abs(total - 1) > 1e-6:
        sum_ = " + ".join(shown(share) for share in spec.splits.values())
        yield Finding(("splits",), f"the shares sum to {total:.6g} ({sum_}); allowed: 1", on_key=True)


def _split_sizes(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    """Splits that would get nobody, by largest remainder, which is how the plan rounds."""
    exact = {name: share * spec.identities.count for name, share in spec.splits.items()}
    sizes = {name: int(size + 1e-9) for name, size in exact.items()}
    by_remainder = sorted(exact, key=lambda name: sizes[name] - exact[name])
    for name in by_remainder[: spec.identities.count - sum(sizes.values())]:
        sizes[name] += 1
    for name in (name for name, size in sizes.items() if size == 0):
        message = f"found {shown(spec.splits[name])} of {spec.identities.count} identities, which is nobody"
        yield Finding(("splits", name), f"{message}; take a larger share or more identities")


# --------------------------------------------------------------------------------------------------------- leaf names


def _leaf_names(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    known = spec.leaves()
    for place, path in named_leaf_places(data):
        is_factor = place[:2] == ("design", "vary") and path in FACTOR_NAMES
        if path not in known and not is_factor:
            yield Finding(place, _no_such_leaf(spec, path, list(known)), on_key=place[0] == "joint")


def _no_such_leaf(spec: Spec, path: str, known: Sequence[str]) -> str:
    factor = path.partition(".")[0]
    value = getattr(spec.factors, factor, None) if factor in FACTOR_NAMES else None
    if isinstance(value, FactorPrior):
        return f"there is no leaf {path!r}: {factor} comes from a prior; give its values in `factors` instead"
    if factor == "expression" and path != factor:
        name = path.partition(".")[2]
        guess = suggestion(path, [leaf for leaf in known if leaf.startswith("expression.")])
        hint = f"; name it under factors.expression.named (`{name}: 0` will do)"
        return f"there is no leaf {path!r} in this spec{guess or hint}"
    return f"there is no leaf {path!r} in this spec; allowed: {listed(known, 20)}{suggestion(path, known)}"


def _joints_and_correlations(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for place, path in named_leaf_places(data):
        if place[0] == "design":
            continue
        owner = f"{place[0]}[{place[1]}]"
        if path in taken:
            whose = "here twice" if taken[path] == owner else f"already in {taken[path]}"
            message = f"the leaf {path!r} is {whose}; one joint table or correlation may hold it (a matrix takes many)"
            yield Finding(place, message, on_key=place[0] == "joint")
        taken.setdefault(path, owner)
    for number, joint in enumerate(spec.joint):
        yield from _joint_per(number, joint.per, joint.columns)
    known = spec.leaves()
    for number, correlation in enumerate(spec.correlate):
        yield from _correlation(number, correlation, known)
        yield from _partly_missing(spec, number, correlation)


def _partly_missing(spec: Spec, number: int, correlation: Correlation) -> Iterator[Finding]:
    """Of two leaves one may be missing in a condition; of three, the other two would lose their correlation."""
    everywhere = {f"identities.attributes.{name}" for name in spec.identities.attributes}
    for stratum in spec.strata:
        present = everywhere | {path for path, _ in _stratum_leaves(spec, stratum.factors)}
        missing = [i for i, path in enumerate(correlation.between) if path not in present]
        if missing and len(correlation.between) - len(missing) > 1 and correlation.between[missing[0]] in spec.leaves():
            path = correlation.between[missing[0]]
            message = f"the condition {stratum.name!r} has no leaf {path!r}, so the others can't be correlated there"
            yield Finding(("correlate", number, "between", missing[0]), f"{message}; use correlations of two")


def _joint_per(number: int, per: str, columns: Mapping[str, str]) -> Iterator[Finding]:
    attributes = [path for path in columns if path.startswith("identities.attributes.")]
    if attributes and per == "image":
        message = f"{attributes[0]!r} belongs to an identity; write `per: identity` beside `table`"
        yield Finding(("joint", number, "table", "columns", attributes[0]), message, on_key=True)


def _correlation(number: int, correlation: Correlation, known: Mapping[str, tuple[Leaf, ...]]) -> Iterator[Finding]:
    place: Place = ("correlate", number)
    for i, path in enumerate(correlation.between):
        leaves = known.get(path, ())
        if leaves and all(isinstance(leaf.distribution, Constant) for leaf in leaves):
            message = f"{path!r} is constant, so nothing can go with it; give it a distribution"
            yield Finding((*place, "between", i), message)
        elif any(leaf.per == "dataset" for leaf in leaves):
            yield Finding((*place, "between", i), f"{path!r} is drawn once for the dataset, so nothing can go with it")
        elif len({leaf.per for leaf in leaves}) > 1:
            yield Finding((*place, "between", i), f"{path!r} has a different `per` in some condition; make them one")
    size = len(correlation.between)
    rho = correlation.rho
    if len(rho) != size or any(len(row) != size for row in rho):
        message = f"found rows of {sorted({len(row) for row in rho})}; allowed: a {size} × {size} matrix or one number"
        yield Finding((*place, "rho"), message)
        return
    matrix = np.array(rho)
    if not np.allclose(matrix, matrix.T, atol=1e-12) or not np.allclose(np.diag(matrix), 1, atol=1e-12):
        yield Finding((*place, "rho"), "no correlation matrix; allowed: a symmetric one with ones on the diagonal")
    elif np.linalg.eigvalsh(matrix).min() < 1e-9:
        message = "no numbers can be correlated like this (the matrix isn't positive definite); bring them nearer to 0"
        yield Finding((*place, "rho"), message)


# ------------------------------------------------------------------------------------------------------------ designs


def _designs(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    if spec.design.kind == "factorial":
        yield from _factorial(spec)
    elif spec.design.kind == "one_factor":
        yield from _one_factor(spec, data)


def _factorial(spec: Spec) -> Iterator[Finding]:
    held = {path for joint in spec.joint for path in joint.columns} | {p for c in spec.correlate for p in c.between}
    axes = spec.design.axes
    for number, path in enumerate(axes):
        place: Place = ("design", "axes", number)
        if path in axes[:number]:
            yield Finding(place, f"the axis {path!r} is here twice; keep one")
        if path in held:
            yield Finding(place, f"the axis {path!r} is in a joint table or correlation too; keep one")
    for stratum in spec.strata:
        yield from _cells(spec, stratum.name, stratum.factors)


def _cells(spec: Spec, name: str, factors: Factors) -> Iterator[Finding]:
    leaves = dict(_stratum_leaves(spec, factors))
    sizes = []
    for number, path in enumerate(spec.design.axes):
        place: Place = ("design", "axes", number)
        leaf = leaves.get(path)
        if leaf is None and path in spec.leaves():
            yield Finding(place, f"the condition {name!r} has no leaf {path!r}; every condition needs one")
        elif leaf is not None and not isinstance(leaf.distribution, Grid):
            message = f"the axis {path!r} isn't a grid in {name!r}; write `grid: [..]` or `grid: {{start, stop, num}}`"
            yield Finding(place, message)
        elif leaf is not None and leaf.per != "image":
            yield Finding(place, f"the axis {path!r} is drawn per {leaf.per}; an axis changes from image to image")
        elif path.startswith("expression.") and isinstance(factors.expression, ExpressionMixture):
            yield Finding(place, f"the axis {path!r} is in a mixture, which may choose another expression; use `named`")
        sizes.append(len(leaf.distribution.values) if leaf and isinstance(leaf.distribution, Grid) else 1)
    cells, count = int(np.prod(sizes)), spec.images_per_identity.get(name, 0)
    if count and count % cells:
        where: Place = ("images_per_identity", name) if spec.conditions else ("images_per_identity",)
        product = " × ".join(str(size) for size in sizes)
        message = f"found {count}; the grid has {product} = {cells} cells, so allowed: a multiple of {cells}"
        yield Finding(where, message)


def _stratum_leaves(spec: Spec, factors: Factors) -> Iterator[tuple[str, Leaf]]:
    yield from factors.leaves()
    yield from ((f"output.post[{number}].{post.kind}", post.value) for number, post in enumerate(spec.output.post))


def _one_factor(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    design, names = spec.design, [condition.name for condition in spec.conditions]
    needed = 1 + len(design.vary) * design.steps
    found = sum(spec.images_per_identity.values())
    if not isinstance(data["images_per_identity"], Mapping) and found != needed:
        product = f"1 anchor + {len(design.vary)} varied × {design.steps} steps = {needed}"
        yield Finding(("images_per_identity",), f"found {found}; this one_factor design has {product}: write {needed}")
    if design.anchor is not None and design.anchor not in names:
        guess = suggestion(design.anchor, names) or ("" if names else "; the spec has no conditions")
        allowed = f"; allowed: {listed(names)}" if names else ""
        yield Finding(("design", "anchor"), f"there is no condition {design.anchor!r}{allowed}{guess}")
    for name in names:
        if name != design.anchor:
            message = "a one_factor design uses only its anchor's condition; remove this one, or make it the anchor"
            yield Finding(("conditions", name), message, on_key=True)
    yield from _varied(spec)


def _varied(spec: Spec) -> Iterator[Finding]:
    leaves = dict(spec.factors.leaves())
    for number, path in enumerate(spec.design.vary):
        place: Place = ("design", "vary", number)
        if path in spec.design.vary[:number]:
            yield Finding(place, f"{path!r} is here twice; keep one")
        elif path in leaves and isinstance(leaves[path].distribution, Constant):
            yield Finding(place, f"{path!r} is constant in `factors`; give it the distribution to vary over")
        elif path.startswith("expression.") and isinstance(spec.factors.expression, ExpressionMixture):
            message = f"{path!r} is in a mixture, which may choose another expression; vary `expression` as a whole"
            yield Finding(place, message)
        elif path in spec.leaves() and path not in leaves:
            yield Finding(place, f"{path!r} isn't in `factors`; what is varied follows `factors`, so give it there")
        elif path in FACTOR_NAMES and _is_fixed(spec.factors, path):
            yield Finding(place, f"{path!r} is constant in `factors`; give it something to vary over")


def _is_fixed(factors: Factors, name: str) -> bool:
    value = getattr(factors, name)
    leaves = [leaf for path, leaf in factors.leaves() if path.startswith(f"{name}.")]
    varies = any(not isinstance(leaf.distribution, Constant) for leaf in leaves)
    has_choice = isinstance(value, (FactorPrior, LeftOut)) or len(getattr(value, "components", ())) > 1
    return name != "noise" and not varies and not has_choice


# -------------------------------------------------------------------------------------------------------------- pairs


def _pairs(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    splits = list(spec.splits)
    conditions = [c.name for c in spec.strata] if spec.conditions and spec.design.kind != "one_factor" else []
    for name, pairs in spec.pairs.items():
        place: Place = ("pairs", name)
        if pairs.split not in splits:
            message = f"there is no split {pairs.split!r}; allowed: {listed(splits)}{suggestion(pairs.split, splits)}"
            yield Finding((*place, "split"), message)
        for number, condition in enumerate(pairs.across):
            if condition not in conditions:
                allowed = f"allowed: {listed(conditions)}" if conditions else "images here belong to no conditions"
                message = f"there is no condition {condition!r}; {allowed}{suggestion(condition, conditions)}"
                yield Finding((*place, "across", number), message)
        if pairs.genuine + pairs.impostor == 0:
            yield Finding(place, "found no pairs; ask for genuine or impostor ones, or remove the list", on_key=True)
        for kind in ("genuine", "impostor"):
            if 0 < getattr(pairs, kind) < pairs.folds:
                message = f"found {getattr(pairs, kind)} pairs for {pairs.folds} folds; allowed: {pairs.folds} or more"
                yield Finding((*place, kind), message)


def _pair_capacity(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    """Pairs beyond what the split can hold, counted generously: rounding of splits is left to the plan."""
    for name, pairs in spec.pairs.items():
        if pairs.split not in spec.splits or any(c not in spec.images_per_identity for c in pairs.across):
            continue
        people = int(np.ceil(spec.identities.count * spec.splits[pairs.split]))
        if len(pairs.across) == 2 and pairs.across[0] != pairs.across[1]:
            first, second = (spec.images_per_identity[c] for c in pairs.across)
            genuine, impostor = first * second, first * second * 2
        else:
            counted = [spec.images_per_identity[c] for c in pairs.across[:1]] or spec.images_per_identity.values()
            images = sum(counted)
            genuine, impostor = images * (images - 1) // 2, images * images
        yield from _over(("pairs", name, "genuine"), pairs.genuine, people * genuine, people)
        yield from _over(("pairs", name, "impostor"), pairs.impostor, people * (people - 1) // 2 * impostor, people)
        if pairs.folds > people:
            message = f"found {pairs.folds} folds for {people} identities; allowed: at most {people}"
            yield Finding(("pairs", name, "folds"), message)


def _over(place: Place, found: int, most: int, people: int) -> Iterator[Finding]:
    if found > most:
        yield Finding(place, f"found {found}; the split's {people} identities have at most {most} such pairs")


# --------------------------------------------------------------------------------------------------------------- post


def _post(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    size = spec.output.image.size
    for number, post in enumerate(spec.output.post):
        high = reach(post.value.distribution)[1]
        if post.kind == "resize_px" and limits_of("resize_px")[0] <= size < high:
            message = f"found up to {shown(high)} px; the image has {size}, so allowed: at most {size}"
            yield Finding(("output", "post", number, "resize_px"), message)


# -------------------------------------------------------------------------------------------------------------- audit


def _audit(spec: Spec, data: Mapping[str, Any]) -> Iterator[Finding]:
    audit, place = spec.quality.audit, ("quality", "audit")
    if audit is None:
        return
    if not audit.limits:
        yield Finding(place, f"everything is off; give at least one of {listed(list(AUDIT_LIMITS))}", on_key=True)
    if audit.on_fail != "resample":
        return
    if spec.design.kind == "one_factor":
        message = (
            "images of a one_factor design share all but one thing with their anchor, so none can be drawn again alone"
        )
        yield Finding((*place, "on_fail"), f"{message}; write `on_fail: flag` or `on_fail: drop`")
    elif audit.redraw == "factors" and spec.design.kind != "random":
        message = f"a {spec.design.kind} design says what every image shows; write `redraw: noise`, or `on_fail: drop`"
        yield Finding((*place, "redraw"), message)
    held = [c.name for c in spec.strata if c.factors.noise.per != "image"]
    if audit.redraw == "noise" and held and spec.design.kind != "one_factor":
        where = "" if held == [DEFAULT_CONDITION] else f" in {listed(held)}"
        message = f"ε is the same for several images{where}, so one can't draw it again; write `redraw: factors`"
        yield Finding((*place, "redraw"), f"{message}, or `noise: {{per: image}}`")
