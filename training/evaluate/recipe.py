"""How much is measured; a recipe's section `evaluate`. The defaults are the paper's protocol, `QUICK` is for one core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What is swept by name in `control`; those that the generator's morphable model doesn't know are left out.
EXPRESSIONS = ("smile", "jaw_open", "blink", "brow_raise", "brow_lower", "mouth_pucker", "frown", "squint")

Path = Literal["w full", "w end", "lambda full"]
#: Measurements in the order they are taken.
NAMES = ("disentanglement", "quality", "paths", "directions", "identity", "control", "truncation")


@dataclass(frozen=True)
class DisentanglementSizes:
    """Eq. 9. Per factor, `num_groups` settings of the others × `per_group` values of it."""

    num_groups: int = 1000
    per_group: int = 10


@dataclass(frozen=True)
class QualitySizes:
    """Fréchet and kernel distances, precision and recall.

    Args:
        num_fakes: random pictures.
        kid_subsets, kid_subset: how many subsets of how many of each kind.
        num_manifold: of each kind for precision and recall.
        neighbours: k of their k-th nearest neighbour.
    """

    num_fakes: int = 50_000
    kid_subsets: int = 100
    kid_subset: int = 1000
    num_manifold: int = 10_000
    neighbours: int = 3


@dataclass(frozen=True)
class PathSizes:
    """Perceptual path lengths: `num` pairs of pictures, `step` apart, on each kind of path."""

    num: int = 100_000
    step: float = 1e-4
    kinds: tuple[Path, ...] = ("w full", "w end", "lambda full")


@dataclass(frozen=True)
class DirectionSizes:
    """Eq. 10: `num_pairs` (a, b) of a factor × `num_contexts` settings of the others."""

    num_pairs: int = 50
    num_contexts: int = 100


@dataclass(frozen=True)
class IdentitySizes:
    """Verification: `num_people`, each once as they are and once for every kind of change."""

    num_people: int = 1000


@dataclass(frozen=True)
class ControlSizes:
    """What was asked for against what is read off the pictures.

    Args:
        num_pose, num_expression, num_lighting: pictures per angle, per named expression, for the direction of light.
        num_random: random pictures, for skin tone, landmarks, and the factors as they come.
        max_pose_deg: pitch, yaw and roll are drawn evenly within ± these.
        max_azimuth_deg: of the light.
        failure_deg: an angle that is off by more is a failure.
        expressions: names or aliases.
    """

    num_pose: int = 2000
    num_expression: int = 500
    num_lighting: int = 1000
    num_random: int = 2000
    max_pose_deg: tuple[float, float, float] = (20.0, 40.0, 15.0)
    max_azimuth_deg: float = 70.0
    failure_deg: float = 10.0
    expressions: tuple[str, ...] = EXPRESSIONS


@dataclass(frozen=True)
class TruncationSizes:
    """ψ from 0 to 1, `num` pictures at each, of both kinds."""

    num: int = 2000
    psis: tuple[float, ...] = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0)


@dataclass(frozen=True)
class EvaluateRecipe:
    """A whole evaluation.

    Args:
        size_px: of the pictures that are judged, photos included; None is the generator's own size.
        num_real: photos at most.
        crops: what lays the crops of generated faces for recognition: the landmarks `requested`, or those that the
            `judge` reads off the picture, for generators that don't put faces where they are asked to.
        chunk: pictures read between two saves.
        seed: of every draw.
    """

    disentanglement: DisentanglementSizes = DisentanglementSizes()
    quality: QualitySizes = QualitySizes()
    paths: PathSizes = PathSizes()
    directions: DirectionSizes = DirectionSizes()
    identity: IdentitySizes = IdentitySizes()
    control: ControlSizes = ControlSizes()
    truncation: TruncationSizes = TruncationSizes()
    size_px: int | None = None
    num_real: int = 50_000
    crops: Literal["requested", "judge"] = "requested"
    chunk: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.disentanglement.per_group < 2 or self.disentanglement.num_groups < 2:
            raise ValueError("disentanglement needs at least 2 groups of 2, or there is no variance to take")
        if self.directions.num_contexts < 2 or self.directions.num_pairs < 2:
            raise ValueError("directions needs at least 2 pairs and 2 contexts")
        if not 0 < self.paths.step < 1:
            raise ValueError(f"paths.step is {self.paths.step}; allowed: between 0 and 1")
        if self.identity.num_people < 2:
            raise ValueError("identity needs at least 2 people")
        if self.chunk < 1:
            raise ValueError(f"chunk is {self.chunk}; allowed: 1 and more")


#: Minutes on one core for a generator of 64 px: enough to see what is broken, too little to rank generators.
QUICK = EvaluateRecipe(
    disentanglement=DisentanglementSizes(16, 5),
    quality=QualitySizes(num_fakes=256, kid_subsets=20, kid_subset=100, num_manifold=256),
    paths=PathSizes(num=64),
    directions=DirectionSizes(20, 40),
    identity=IdentitySizes(32),
    control=ControlSizes(num_pose=48, num_expression=24, num_lighting=48, num_random=256),
    truncation=TruncationSizes(num=64, psis=(0.0, 0.5, 0.7, 1.0)),
    size_px=64,
    num_real=512,
    chunk=64,
)
