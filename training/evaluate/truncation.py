"""What truncation costs and gives: ψ from 0 to 1, the attribute-preserving kind beside the plain one.

The same λ and ε at every ψ. Drift is how far what the judge reads moves from ψ = 1: attribute-preserving truncation should
leave pose, expression and light where they are. Spread is the mean 1 − cos of two different people's pictures.

Source: Deng et al. 2020, supplement IV; Karras et al. 2019, Sec. 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from synthface.networks.truncation import Kind
from training.evaluate import distances
from training.evaluate.bench import Bench, Unavailable, pool_networks
from training.evaluate.networks import unit_descriptors
from training.evaluate.subject import Styled
from training.gan.metrics import frechet_distance

KINDS: tuple[Kind, ...] = ("attribute-preserving", "plain")


def count(bench: Bench) -> int:
    """Pictures to look at."""
    sizes = bench.recipe.truncation
    drawn = (1 + len(KINDS) * len(sizes.psis)) * sizes.num
    return (drawn + bench.num_real) * isinstance(bench.subject, Styled)


def measure(bench: Bench) -> dict[str, Any]:
    """A row of figures per kind and ψ.

    Raises:
        Unavailable: the generator has no styles, or nothing is there to judge by.
    """
    if not isinstance(bench.subject, Styled):
        raise Unavailable("needs a generator with style codes")
    sizes, wants = bench.recipe.truncation, pool_networks(bench.networks)
    if not wants:
        raise Unavailable("needs a network to judge by")
    rng = bench.rng("truncation")
    vector, noise = bench.source.vectors(sizes.num, rng=rng), bench.source.noise(sizes.num, rng=rng)
    untouched = bench.read(vector, noise, wants)
    try:
        real = bench.read_real(wants)
    except Unavailable:
        real = None
    kinds: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for psi in sizes.psis:
            subject = bench.subject if psi == 1.0 else bench.subject.truncated(psi, kind)
            read = bench.read(vector, noise, wants, subject=subject)
            kinds[kind].append({"psi": psi, **_figures(bench, read, untouched, real)})
    return {"num": sizes.num, "kinds": kinds, "figures_by": _judges(bench)}


def _judges(bench: Bench) -> dict[str, dict[str, list[str]]]:
    """Which network each kind of figure comes from."""
    networks = bench.networks
    by = {"drift": networks.judge, "spread, identity_kept": networks.identity}
    by["distance, precision, recall"] = networks.inception or networks.features
    return {name: {"networks": [named.name]} for name, named in by.items() if named is not None}


def _figures(
    bench: Bench, read: Mapping[str, Tensor], untouched: Mapping[str, Tensor], real: Mapping[str, Tensor] | None
) -> dict[str, float]:
    networks = bench.networks
    figures: dict[str, float] = {}
    if networks.judge is not None:
        parts = bench.source.sizes.parts
        moved = (read["vector"] - untouched["vector"]).double()
        figures["pose_drift_deg"] = math.degrees(float(moved[:, parts["pose_rad"]].abs().mean()))
        figures["expression_drift"] = float(moved[:, parts["expression"]].abs().mean())
        figures["lighting_drift"] = float(moved[:, parts["sh"]].abs().mean())
    identity = networks.identity
    if identity is not None:
        unit, before = (unit_descriptors(each, identity) for each in (read, untouched))
        num = len(unit)
        figures["spread"] = 1.0 - float((unit.sum(dim=0).square().sum() - num) / (num * (num - 1)))
        figures["identity_kept"] = float((unit * before).sum(dim=1).mean())
    features = networks.inception or networks.features
    if features is not None and real is not None:
        a, b = real[features.name], read[features.name]
        few = min(len(a), len(b))
        figures["FID" if features is networks.inception else f"fd[{features.name}]"] = frechet_distance(a, b)
        figures["precision"], figures["recall"] = distances.precision_recall(
            a[:few], b[:few], neighbours=bench.recipe.quality.neighbours
        )
    return figures
