"""Pictures to numbers, in chunks that are kept: a killed evaluation goes on where it was.

A chunk's file is named by everything that its numbers depend on (generator, networks, size, λ and ε), so that changed
settings never meet old numbers, and measurements that look at the same pictures share them.
"""

from __future__ import annotations

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthface.pipeline import Progress
from training.evaluate.networks import Named, Networks, describe
from training.evaluate.real import RealPhotos
from training.evaluate.recipe import EvaluateRecipe
from training.evaluate.source import FactorSource, rng_for
from training.evaluate.subject import Pictures, Subject

#: Raised when the same pictures give other numbers.
VERSION = 1

Readings = Mapping[str, Tensor]


class Unavailable(Exception):  # noqa: N818 - not an error: a figure that can't be had, with its reason
    """A measurement can't be taken here; the message says why."""


@dataclass
class Counter:
    """How many pictures are done, of how many; a chunk that was kept counts as done."""

    total: int = 0
    done: int = 0
    kept: int = 0
    report: Callable[[Progress], None] = lambda progress: None
    began: float = field(default_factory=time.monotonic)

    def add(self, num: int, *, was_kept: bool) -> None:
        """Count pictures; the time left is estimated from those that took time."""
        self.kept += num * was_kept
        self.done += num * (not was_kept)
        total = max(self.total - self.kept, self.done)
        self.report(Progress(self.done, total, time.monotonic() - self.began))


@dataclass
class Bench:
    """Everything a measurement needs.

    Args:
        subject: what is measured.
        source: where λ come from.
        networks: what judges.
        recipe: how much is measured.
        cache: folder of the kept chunks.
        real: the photos; None where there are none.
        counter: progress.
    """

    subject: Subject
    source: FactorSource
    networks: Networks
    recipe: EvaluateRecipe
    cache: Path
    real: RealPhotos | None = None
    counter: Counter = field(default_factory=Counter)

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
        about = [subject.describe(), self.recipe.crops, *self._digests(wants)]

        def compute(rows: slice) -> dict[str, Tensor]:
            drawn = subject.pictures(vector[rows], noise[rows])
            crops = None if self.recipe.crops == "requested" else self.networks.judge
            return {**_read(drawn, wants, crops), "asked_landmarks": drawn.landmarks}

        def content(rows: slice) -> bytes:
            return vector[rows].numpy().tobytes() + noise[rows].numpy().tobytes()

        return self.chunked("pictures", len(vector), about, content, compute)

    def read_real(self, wants: Sequence[Named]) -> dict[str, Tensor]:
        """The same of the photos, at most `num_real`, a fixed random choice.

        Raises:
            Unavailable: there are none.
        """
        real = self.real
        if real is None:
            raise Unavailable("needs photos: give --real")
        size = self.subject.size_px
        num = min(len(real), self.recipe.num_real)
        chosen = torch.randperm(len(real), generator=self.rng("photos"))[:num].numpy()
        about = [real.digest, size, *self._digests(wants)]

        def compute(rows: slice) -> dict[str, Tensor]:
            return _read(real.pictures(chosen[rows], size), wants, None)

        return self.chunked("photos", num, about, lambda rows: chosen[rows].tobytes(), compute)

    def chunked(
        self,
        kind: str,
        num: int,
        about: Any,
        content: Callable[[slice], bytes],
        compute: Callable[[slice], Mapping[str, Tensor]],
        *,
        weight: int = 1,
    ) -> dict[str, Tensor]:
        """Rows 0 … num computed chunk by chunk, each kept in a file.

        Args:
            kind: of the rows: the beginning of the files' names.
            num: how many.
            about: what all rows depend on; plain data.
            content: what a run of rows depends on besides.
            compute: its numbers, each with a row per row.
            weight: pictures per row, for the progress.
        """
        common = json.dumps([VERSION, kind, about], sort_keys=True, default=str).encode()
        pieces = []
        for start in range(0, num, self.recipe.chunk):
            rows = slice(start, min(start + self.recipe.chunk, num))
            digest = hashlib.sha256(common + content(rows)).hexdigest()[:32]
            path = self.cache / f"{kind}-{digest}.npz"
            kept = _load(path)
            if kept is None:
                with torch.no_grad():
                    kept = dict(compute(rows))
                _save(path, kept)
                self.counter.add(weight * (rows.stop - rows.start), was_kept=False)
            else:
                self.counter.add(weight * (rows.stop - rows.start), was_kept=True)
            pieces.append(kept)
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

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

    def pool(self, num: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """λ, ε and readings of the first `num` random pictures, by all networks that look at random pictures.

        Measurements that need random pictures share these.
        """
        rng = self.rng("pool")
        whole = max(num, self.recipe.quality.num_fakes, self.recipe.control.num_random)
        vector, noise = self.source.vectors(whole, rng=rng), self.source.noise(whole, rng=rng)
        return vector[:num], noise[:num], self.read(vector[:num], noise[:num], pool_networks(self.networks))

    def _digests(self, wants: Sequence[Named]) -> list[tuple[str, str]]:
        judge = self.networks.judge
        by_judge = [] if self.recipe.crops == "requested" or judge is None else [("crops", judge.digest)]
        return [*((named.name, named.digest) for named in wants), *by_judge]


def pool_networks(networks: Networks) -> tuple[Named, ...]:
    """What looks at random pictures: all but the recognisers that training has seen."""
    found = (networks.judge, networks.identity, networks.features, networks.inception)
    return tuple(named for named in found if named is not None)


def _read(pictures: Pictures, wants: Sequence[Named], crops_by: Named | None) -> dict[str, Tensor]:
    landmarks = pictures.landmarks
    if crops_by is not None:
        landmarks = crops_by.network(pictures.images).landmarks.clamp(-1.0, 2.0)
    read: dict[str, Tensor] = {}
    for named in wants:
        read |= describe(named, pictures.images, landmarks)
    return {name: value.detach().cpu() for name, value in read.items()}


def _load(path: Path) -> dict[str, Tensor] | None:
    """A kept chunk; None where there is none, or its writer was killed."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _save(path: Path, arrays: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in arrays.items()})
    temporary.replace(path)
