"""Perceptual path length: how fast pictures change along a path between two random faces.

    PPL = E[d(G(path(t)), G(path(t + s))) / s²],   s = 10⁻⁴

`w full`: straight lines in W, t uniform in [0, 1); `w end`: t = 0; `lambda full`: straight lines in λ, great circles in ε.
The noise maps stay those of the start. The smallest and the largest 1 % of the lengths are left out.

Source: Karras et al. 2019, Sec. 4.1 and their released code (trimming). They take d from VGG-16 with LPIPS's learned
weights; a length is named by the features that d is taken on and compares only with lengths on the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.evaluate.bench import Bench, Unavailable
from training.evaluate.networks import perceptual_distance
from training.evaluate.subject import Styled

_TRIM = 0.01


def count(bench: Bench) -> int:
    """Pictures to look at, both ends of every step."""
    sizes = bench.recipe.paths
    return 2 * sizes.num * len(sizes.kinds) * isinstance(bench.subject, Styled)


def measure(bench: Bench) -> dict[str, Any]:
    """PPL on each kind of path.

    Raises:
        Unavailable: the generator has no styles.
    """
    if not isinstance(bench.subject, Styled):
        raise Unavailable("needs a generator with style codes; a rasteriser's picture jumps at edges, so it has no PPL")
    features = bench.networks.features
    name = "pixels" if features is None else features.name
    lengths = {}
    for kind in bench.recipe.paths.kinds:
        found = path_lengths(bench, bench.subject, kind)
        lengths[kind] = {f"ppl[{name}]": trimmed_mean(found), "standard_error": float(found.std() / len(found) ** 0.5)}
    return {
        "num": bench.recipe.paths.num,
        "step": bench.recipe.paths.step,
        "networks": [] if features is None else [features.name],
        "by": lengths,
    }


def path_lengths(bench: Bench, subject: Styled, kind: str) -> Tensor:
    """d / s² (num,) of random steps."""
    sizes, rng, source = bench.recipe.paths, bench.rng(f"paths {kind}"), bench.source
    num, step = sizes.num, sizes.step
    vectors = [source.vectors(num, rng=rng) for _ in range(2)]
    noises = [source.noise(num, rng=rng) for _ in range(2)]
    t = torch.rand(num, 1, generator=rng, dtype=vectors[0].dtype) * (not kind.endswith("end"))
    network = None if bench.networks.features is None else bench.networks.features.network

    def at(rows: slice, where: Tensor) -> Tensor:
        (v0, v1), (e0, e1) = [v[rows] for v in vectors], [e[rows] for e in noises]
        if kind.startswith("w"):
            w = torch.lerp(subject.styles(v0, e0), subject.styles(v1, e1), where)
        else:
            w = subject.styles(torch.lerp(v0, v1, where), slerp(e0, e1, where))
        return subject.from_styles(w, e0)

    def compute(rows: slice, parts: Sequence[str]) -> dict[str, dict[str, Tensor]]:
        first, second = at(rows, t[rows]), at(rows, t[rows] + step)
        return {"length": {"length": perceptual_distance(network, first, second).cpu() / step**2}}

    about = [bench.subject.describe(), kind, step, *_digest(bench)]

    def content(rows: slice) -> bytes:
        return b"".join(part[rows].numpy().tobytes() for part in (*vectors, *noises, t))

    return bench.store.rows("paths", num, {"length": about}, content, compute, weight=2)["length"]


def slerp(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """The great circle from first (N, E) to second, at t (N, 1), lengths interpolated too: ε stays as likely as it was."""
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (first, second))
    angle = (a * b).sum(dim=1, keepdim=True).clamp(-1, 1).acos().clamp_min(1e-7)
    direction = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return direction * torch.lerp(first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True), t)


def trimmed_mean(values: Tensor, share: float = _TRIM) -> float:
    """The mean of what is left without the smallest and the largest share."""
    ordered = values.double().sort().values
    cut = math.floor(share * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())


def _digest(bench: Bench) -> list[str]:
    return [] if bench.networks.features is None else [bench.networks.features.digest]
