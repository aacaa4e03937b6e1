"""What every measurement has at hand: the generator, where factors come from, the photos, and networks to look with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.evaluate.networks import Named, Networks, describe
from training.evaluate.real import RealPhotos
from training.evaluate.recipe import EvaluateRecipe
from training.evaluate.source import FactorSource, rng_for
from training.evaluate.store import Store
from training.evaluate.subject import Pictures, Subject


class Unavailable(Exception):  # noqa: N818 - not an error: a figure that can't be had, with its reason
    """A measurement can't be taken here; the message says why."""


@dataclass
class Bench:
    """Everything a measurement needs.

    Args:
        subject: what is measured.
        source: where λ come from.
        networks: what judges.
        recipe: how much is measured.
        store: what was read already, and how far things are.
        real: the photos; None where there are none.
    """

    subject: Subject
    source: FactorSource
    networks: Networks
    recipe: EvaluateRecipe
    store: Store
    real: RealPhotos | None = None

    def rng(self, stream: str) -> torch.Generator:
        """A measurement's own generator."""
        return rng_for(self.recipe.seed, stream)

    def read(
        self, vector: Tensor, noise: Tensor, wants: Sequence[Named], *, subject: Subject | None = None
    ) -> dict[str, Tensor]:
        """What networks read off the pictures of λ (N, total) and ε (N, E); see `networks.describe`.

        Besides, `asked_landmarks` (N, 68, 2): where the morphable model has them.
        """
        subject = subject or self.subject
        crops = None if self.recipe.crops == "requested" else self.require_judge()
        about = [subject.describe(), None if crops is None else crops.digest]

        def compute(rows: slice, names: Sequence[str]) -> Mapping[str, Mapping[str, Tensor]]:
            return _read(subject.pictures(vector[rows], noise[rows]), _only(wants, names), crops)

        def content(rows: slice) -> bytes:
            return vector[rows].numpy().tobytes() + noise[rows].numpy().tobytes()

        parts = {named.name: [about, named.name, named.digest] for named in wants}
        found = self.store.rows("pictures", len(vector), parts, content, compute)
        return {**found, "asked_landmarks": subject.landmarks(vector)}

    def read_real(self, wants: Sequence[Named]) -> dict[str, Tensor]:
        """The same of the photos, at most `num_real`, a fixed random choice.

        Raises:
            Unavailable: there are none.
        """
        real, size = self.real, self.subject.size_px
        if real is None:
            raise Unavailable("needs photos: give --real")
        chosen = torch.randperm(len(real), generator=self.rng("photos"))[: self.num_real].numpy()

        def compute(rows: slice, names: Sequence[str]) -> Mapping[str, Mapping[str, Tensor]]:
            return _read(real.pictures(chosen[rows], size), _only(wants, names), None)

        parts = {named.name: [real.digest, size, named.name, named.digest] for named in wants}
        return self.store.rows("photos", len(chosen), parts, lambda rows: chosen[rows].tobytes(), compute)

    @property
    def num_real(self) -> int:
        """Photos that are looked at."""
        return 0 if self.real is None else min(len(self.real), self.recipe.num_real)

    def pool(self, num: int) -> tuple[Tensor, dict[str, Tensor]]:
        """λ and readings of the first `num` random pictures, which measurements share.

        The judge looks at no more of them than its own measurement needs; beyond those its readings are left out.
        """
        rng, judged = self.rng("pool"), self.recipe.control.num_random
        whole = max(num, self.recipe.quality.num_fakes, judged)
        vector, noise = self.source.vectors(whole, rng=rng)[:num], self.source.noise(whole, rng=rng)[:num]
        everyone = pool_networks(self.networks)
        found = self.read(vector[:judged], noise[:judged], everyone)
        if num > judged:
            others = [named for named in everyone if named.role != "judge"]
            rest = self.read(vector[judged:], noise[judged:], others)
            found = {name: torch.cat([found[name], rest[name]]) for name in rest}
        return vector, found

    def require_judge(self) -> Named:
        """The judge.

        Raises:
            Unavailable: there is none.
        """
        if self.networks.judge is None:
            raise Unavailable(f"needs a judge: {self.networks.missing.get('judge', 'none was given')}")
        return self.networks.judge

    def require_identity(self) -> Named:
        """The recogniser that judges.

        Raises:
            Unavailable: there is none.
        """
        if self.networks.identity is None:
            raise Unavailable(f"needs a recognition network: {self.networks.missing.get('second recognition', '')}")
        return self.networks.identity


def pool_networks(networks: Networks) -> tuple[Named, ...]:
    """What looks at random pictures: all but the recognisers that training has seen."""
    found = (networks.judge, networks.identity, networks.features, networks.inception)
    return tuple(named for named in found if named is not None)


def _only(wants: Sequence[Named], names: Sequence[str]) -> list[Named]:
    return [named for named in wants if named.name in names]


def _read(pictures: Pictures, wants: Sequence[Named], crops_by: Named | None) -> dict[str, dict[str, Tensor]]:
    """Network to name to numbers."""
    landmarks = pictures.landmarks
    if crops_by is not None:
        # A face that the judge places far outside the picture would be a crop of nothing.
        landmarks = describe(crops_by, pictures.images, landmarks)["landmarks"].cpu().clamp(-1.0, 2.0)
    return {
        named.name: {name: value.detach().cpu() for name, value in describe(named, pictures.images, landmarks).items()}
        for named in wants
    }
