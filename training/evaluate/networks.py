"""The networks that judge, and which of them training has seen.

A figure is worth less when a loss looked through the same network: G may have learned to please it. So every network here
says whether it was `seen_by_training`, and the report marks its figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Named:
    """A network under the name that its figures carry.

    Args:
        name: `mobileface`, say.
        role: what it judges: `judge`, `recognition`, `second recognition`, `features`, `inception`.
        network: see `training.gan.frozen` for what each role is called with.
        seen_by_training: whether a loss of the generator's training looked through it.
        is_assumed: whether that is a guess, the bundle not saying.
        digest: of its weights.
    """

    name: str
    role: str
    network: Any
    seen_by_training: bool = False
    is_assumed: bool = False
    digest: str = ""

    def to_plain(self) -> dict[str, Any]:
        """For the JSON."""
        names = ("name", "role", "seen_by_training", "is_assumed", "digest")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Networks:
    """All networks of an evaluation.

    Args:
        judge: reads λ and landmarks off pictures.
        recognisers: who is it?
        features: maps for Fréchet distances and path lengths.
        inception: TF-Inception's pooled features of 8-bit levels, where the user gave it.
        missing: role to why there is none.
    """

    judge: Named | None = None
    recognisers: tuple[Named, ...] = ()
    features: Named | None = None
    inception: Named | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Named | None:
        """The recogniser to judge by: one that training hasn't seen, where there is one."""
        unseen = [named for named in self.recognisers if not named.seen_by_training]
        return next(iter([*unseen, *self.recognisers]), None)

    def all(self) -> tuple[Named, ...]:
        """Every network there is."""
        found = (self.judge, *self.recognisers, self.features, self.inception)
        return tuple(named for named in found if named is not None)

    def named(self, name: str) -> Named:
        """The network of that name."""
        return next(named for named in self.all() if named.name == name)


def describe(named: Named, images: Tensor, landmarks: Tensor) -> dict[str, Tensor]:
    """What a network reads off pictures (N, 3, H, W) whose faces are at landmarks (N, L, 2).

    Returns:
        For the judge `vector` (N, total) and `landmarks` (N, 68, 2); for the others (N, D) under their name.
    """
    images, landmarks = (x.to(device_of(named.network)) for x in (images, landmarks))
    if named.role == "judge":
        read = named.network(images)
        return {"vector": read.vector, "landmarks": read.landmarks}
    if named.role in ("recognition", "second recognition"):
        return {named.name: named.network(images, landmarks)}
    if named.role == "features":
        return {named.name: named.network(images)[-1].mean(dim=(2, 3))}
    return {named.name: named.network(images).flatten(1)}


def unit_descriptors(read: Mapping[str, Tensor], named: Named) -> Tensor:
    """A recogniser's descriptors (N, D) among readings, centred and brought to unit length, in double precision."""
    raw = read[named.name].double()
    return F.normalize(raw - named.network.mean.cpu().to(raw), dim=1)


def device_of(network: Any) -> torch.device:
    """Where a module lies; the CPU for anything else."""
    tensors = [*network.parameters(), *network.buffers()] if isinstance(network, nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


def perceptual_distance(features: Any, first: Tensor, second: Tensor) -> Tensor:
    """How different pictures look, (N,): per map, the squared distance of unit feature vectors, averaged over places.

    Source: Zhang et al. 2018 (LPIPS) without its learned weights; with no features, the mean squared difference of pixels.
    """
    if features is None:
        return (first - second).square().mean(dim=(1, 2, 3))
    device = device_of(features)
    total = torch.zeros(len(first), dtype=first.dtype)
    for a, b in zip(features(first.to(device)), features(second.to(device)), strict=True):
        difference = F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)
        total = total + difference.square().sum(dim=1).mean(dim=(1, 2)).to(total)
    return total
