"""What reads factors off pictures: the reconstruction network, or anything that satisfies `Estimator`.

To add one: put a factory into `ESTIMATORS`; specs and `synthface verify --labels` can then name it. Its actions are matched to
the dataset's by name, so an estimator that knows other actions than the generator compares those that both have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from synthface.errors import GeneratorError
from synthface.quality.residuals import Facts

if TYPE_CHECKING:
    from torch import Tensor

    from synthface.networks.mapping import LambdaSizes
    from synthface.networks.recognition import Recognition
    from synthface.networks.reconstruction import Reconstructed

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


class Estimator(Protocol):
    """Reads λ and landmarks off pictures, each by itself: a picture's numbers don't depend on its neighbours."""

    @property
    def sizes(self) -> LambdaSizes:
        """How its λ is packed."""

    @property
    def expression_names(self) -> Sequence[str]:
        """The names of its actions, in order; '' for those that it guesses at, which aren't compared."""

    def __call__(self, images: Tensor) -> Reconstructed:
        """Read pictures (N, 3, H, W) in [−1, 1]."""

    def digest(self) -> str:
        """What decides its numbers: a hash of its weights."""


#: An action whose R² on renderings is below this is as good as guessed.
LEAST_R2 = 0.5


@dataclass(frozen=True)
class _Network:
    """A reconstruction network as an estimator."""

    network: Any

    @property
    def sizes(self) -> LambdaSizes:
        """How its λ is packed."""
        sizes: LambdaSizes = self.network.sizes
        return sizes

    @property
    def expression_names(self) -> Sequence[str]:
        """The names of its actions; '' for those that it reads badly, by the measurements in its own card."""
        config = self.network.config
        r2: Mapping[str, float] = config.card.get("measured", {}).get("expression_r2", {})
        return tuple(name if r2.get(name, 1.0) >= LEAST_R2 else "" for name in config.expression_names)

    def __call__(self, images: Tensor) -> Reconstructed:
        """Read pictures."""
        import torch

        with torch.no_grad():
            read: Reconstructed = self.network(images)
        return read

    def digest(self) -> str:
        """SHA-256 over its weights."""
        sha = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            sha.update(name.encode())
            sha.update(value.cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()


def _reconstruction(name: str) -> Callable[[str], Estimator]:
    def load(device: str) -> Estimator:
        from synthface.networks.reconstruction import load_reconstruction

        return _Network(load_reconstruction(name).to(device))

    return load


DEFAULT = "reconstruction"
#: Name to what makes the estimator on a device.
ESTIMATORS: dict[str, Callable[[str], Estimator]] = {name: _reconstruction(name) for name in (DEFAULT, "judge")}


def load_estimator(name: str = DEFAULT, *, device: str = "cpu") -> Estimator:
    """An estimator by its name in `ESTIMATORS`, or from the folder of a reconstruction network.

    Raises:
        GeneratorError: there is none of that name, or its files are missing or damaged.
    """
    if name in ESTIMATORS:
        return ESTIMATORS[name](device)
    if Path(name).is_dir():
        return _reconstruction(name)(device)
    raise GeneratorError(
        f"no estimator {name!r}; allowed: {', '.join(ESTIMATORS)}, or the folder of a reconstruction network "
        "(`python -m training reconstruct export` writes one)"
    )


def read_pictures(
    images: U8,
    estimator: Estimator,
    expression_names: Sequence[str],
    *,
    recognition: Recognition | None = None,
    centre: F32 | None = None,
    landmarks: npt.NDArray[np.floating] | None = None,
    device: str = "cpu",
) -> Facts:
    """What estimators read off pictures (N, H, W, 3).

    Args:
        images: the pictures, whole views.
        estimator: reads λ and landmarks.
        expression_names: the actions wanted, in order; one that the estimator lacks is read as 0 (see `shared_actions`).
        recognition: f_id, where descriptors are wanted.
        centre: (D,) what comes off descriptors; None leaves them raw.
        landmarks: (N, 68, 2) fractions, to crop for f_id by; None: the estimator's own.
        device: where to compute.
    """
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    read = estimator(pixels)
    factors = estimator.sizes.unpack(read.vector)
    own = read.landmarks.cpu().numpy()
    vectors = None
    if recognition is not None:
        from synthface.quality.separation import unit

        points = own if landmarks is None else landmarks
        with torch.no_grad():
            raw = recognition(pixels, torch.from_numpy(np.ascontiguousarray(points, np.float32)).to(device))
        vectors = raw.cpu().numpy() if centre is None else unit(raw.cpu().numpy(), centre)
    return Facts(
        pose_rad=factors.pose_rad.cpu().numpy(),
        expression=_by_name(factors.expression.cpu().numpy(), estimator.expression_names, expression_names),
        sh=factors.sh.cpu().numpy(),
        landmarks=own,
        descriptors=vectors,
    )


def shared_actions(estimator: Estimator, expression_names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of the actions (Ke,) the estimator knows; only those are compared."""
    known = set(estimator.expression_names)
    return np.array([name in known for name in expression_names], bool)


def _by_name(values: F32, names: Sequence[str], wanted: Sequence[str]) -> F32:
    if tuple(names) == tuple(wanted):
        return values
    column: Mapping[str, int] = {name: number for number, name in enumerate(names) if name}
    found = np.zeros((len(values), len(wanted)), np.float32)
    for number, name in enumerate(wanted):
        if name in column:
            found[:, number] = values[:, column[name]]
    return found
