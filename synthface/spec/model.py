"""A spec as data: frozen dataclasses with the names of the YAML.

Angles are degrees here, as in YAML; sampling turns them into radians. A *leaf* is one scalar that is drawn; its *path*
(`pose.yaw`, `expression.mouth_smile_left`, `lighting.lights[0].azimuth`, `identities.attributes.skin_tone_ita_deg`,
`output.post[0].jpeg_quality`) names it in joint tables, correlations, designs, random streams and messages alike.

Build them in Python as freely as in YAML; `Spec.check()` finds what the loader would have found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from synthface.spec.names import AUDIT_LIMITS

if TYPE_CHECKING:
    from synthface.errors import SpecProblem
    from synthface.spec.distributions import Distribution

Per = Literal["image", "identity", "dataset"]
Frame = Literal["camera", "head"]
Splits: TypeAlias = Mapping[str, float]

SPEC_VERSION = 1
#: The condition of a spec that names none.
DEFAULT_CONDITION = "default"


@dataclass(frozen=True)
class Leaf:
    """One scalar to draw, and how often: anew for every image, once per identity, or once for the dataset."""

    distribution: Distribution
    per: Per = "image"


@dataclass(frozen=True)
class FileRef:
    """A file that the spec names.

    Args:
        name: as written in the spec, relative to the spec's folder.
        path: where it was found; two specs that differ only in this are equal.
        sha256: of its bytes, so that the digest follows the content and not the name.
    """

    name: str
    path: Path = field(compare=False)
    sha256: str = ""


# ---------------------------------------------------------------------------------------------------------- factors


@dataclass(frozen=True)
class FactorPrior:
    """The generator's learned distribution of a whole factor; `scale` multiplies its latent standard deviation."""

    scale: float = 1.0
    per: Per = "image"


@dataclass(frozen=True)
class LeftOut:
    """A factor that the spec doesn't mention. `resolve` puts the generator's prior or the documented default here."""


@dataclass(frozen=True)
class Pose:
    """Head rotation, degrees: yaw > 0 turns to the image's right, pitch > 0 looks down, roll > 0 counter-clockwise."""

    yaw: Leaf
    pitch: Leaf
    roll: Leaf


@dataclass(frozen=True)
class Neutral:
    """No expression: every action is 0."""


@dataclass(frozen=True)
class Named:
    """Some actions by name; those not named are 0.

    Args:
        values: action or alias (see `names.EXPRESSION_ALIASES`) to its leaf, drawn in [0, 1]. An alias is one leaf, so
            `smile` moves both corners of the mouth by the same amount; `names.actions_of(name)` lists what it drives.
    """

    values: Mapping[str, Leaf]


@dataclass(frozen=True)
class ExpressionMixture:
    """One of several expressions.

    Args:
        components: (weight, expression); weights needn't sum to 1.
        per: how often the component is chosen; the leaves inside have a `per` of their own.
    """

    components: tuple[tuple[float, Neutral | Named | FactorPrior], ...]
    per: Per = "image"


@dataclass(frozen=True)
class Light:
    """A directional light. Degrees; at intensity 1 a white albedo facing it reads 1; kelvin, None: white."""

    azimuth: Leaf
    elevation: Leaf
    intensity: Leaf
    colour_temperature: Leaf | None = None


@dataclass(frozen=True)
class LightRig:
    """White ambient light and any number of directional lights. Presets are expanded to this by the loader."""

    ambient: Leaf
    lights: tuple[Light, ...] = ()
    frame: Frame = "camera"


@dataclass(frozen=True)
class SHLighting:
    """Fixed spherical-harmonics coefficients: 3 channels of 9, full (no offset)."""

    coefficients: tuple[tuple[float, ...], ...]
    frame: Frame = "camera"


@dataclass(frozen=True)
class Environment:
    """An equirectangular environment map.

    Args:
        file: the image, linear (`.hdr`, `.exr`) or sRGB (`.png`, `.jpg`).
        rotate: degrees about the vertical axis, > 0 moves the light towards the image's right.
        intensity: factor on its radiance.
        sh: the map as spherical harmonics before rotation, 3 × 9; the loader reads them from the file.
        frame: what it turns with.
    """

    file: FileRef
    rotate: Leaf
    intensity: Leaf
    sh: tuple[tuple[float, ...], ...] = field(compare=False, repr=False)
    frame: Frame = "camera"


@dataclass(frozen=True)
class Noise:
    """How often ε is drawn. `identity` keeps background and hair, and so teaches recognisers backgrounds."""

    per: Per = "image"


Expression: TypeAlias = Neutral | Named | FactorPrior | ExpressionMixture
Lighting: TypeAlias = LightRig | SHLighting | Environment | FactorPrior


@dataclass(frozen=True)
class Factors:
    """Everything about an image but who it shows. After `resolve` no factor is `LeftOut`."""

    pose: Pose | FactorPrior | LeftOut = LeftOut()
    expression: Expression | LeftOut = LeftOut()
    lighting: Lighting | LeftOut = LeftOut()
    noise: Noise = Noise()

    def leaves(self) -> Iterator[tuple[str, Leaf]]:
        """(path, leaf) of every scalar leaf; an action in two components of a mixture appears twice."""
        yield from _pose_leaves(self.pose)
        yield from _expression_leaves(self.expression)
        yield from _lighting_leaves(self.lighting)


def _pose_leaves(pose: Pose | FactorPrior | LeftOut) -> Iterator[tuple[str, Leaf]]:
    if isinstance(pose, Pose):
        yield from (("pose.yaw", pose.yaw), ("pose.pitch", pose.pitch), ("pose.roll", pose.roll))


def _expression_leaves(expression: Expression | LeftOut) -> Iterator[tuple[str, Leaf]]:
    if isinstance(expression, Named):
        yield from ((f"expression.{name}", leaf) for name, leaf in expression.values.items())
    elif isinstance(expression, ExpressionMixture):
        for _, component in expression.components:
            yield from _expression_leaves(component)


def _lighting_leaves(lighting: Lighting | LeftOut) -> Iterator[tuple[str, Leaf]]:
    if isinstance(lighting, LightRig):
        yield "lighting.ambient", lighting.ambient
        for number, light in enumerate(lighting.lights):
            names = ("azimuth", "elevation", "intensity", "colour_temperature")
            leaves = ((name, getattr(light, name)) for name in names)
            yield from ((f"lighting.lights[{number}].{name}", leaf) for name, leaf in leaves if leaf is not None)
    elif isinstance(lighting, Environment):
        yield "lighting.environment.rotate", lighting.rotate
        yield "lighting.environment.intensity", lighting.intensity


# ------------------------------------------------------------------------------------------------ the rest of a spec


@dataclass(frozen=True)
class Truncation:
    """How far the generator's style codes are pulled towards their mean; 1 is not at all. Generators without style
    codes (`3dmm`) have nothing to pull."""

    psi: float = 0.7
    kind: Literal["attribute-preserving", "plain", "none"] = "attribute-preserving"


@dataclass(frozen=True)
class Balance:
    """Equal numbers of identities between neighbouring `edges` of an attribute.

    Args:
        by: the attribute.
        edges: increasing; identities outside them aren't taken.
        tolerance: how far a bin's share may be from its part where a bin can't be filled.
        max_tries: how many are drawn for each that is asked for, on average.
    """

    by: str
    edges: tuple[float, ...]
    tolerance: float = 0.02
    max_tries: int = 20


@dataclass(frozen=True)
class Identities:
    """Who the images show.

    Args:
        count: number of identities.
        sample: the identity prior's scale (`per` is always `identity`).
        min_distance: centred recognition distance to every other identity.
        max_tries: how many are drawn and compared for each that `min_distance` asks for, on average.
        attributes: attribute of the generator's layout to its leaf (`per` is `identity` or `dataset`).
        balance: equal numbers per bin of an attribute.
        reuse: `from` in YAML, the folder of an earlier dataset whose identities to take.
    """

    count: int
    sample: FactorPrior = FactorPrior(per="identity")
    min_distance: float | None = None
    attributes: Mapping[str, Leaf] = field(default_factory=dict)
    balance: Balance | None = None
    reuse: str | None = None
    max_tries: int = 20


@dataclass(frozen=True)
class Joint:
    """Rows of a table taken whole: the leaves in `columns` don't use their own distribution.

    Args:
        table: a .csv or .parquet file.
        columns: leaf path to the table's column.
        values: (R, C), the rows, in the order of `columns`; the loader reads them from the file.
        weights: (R,), summing to 1; None: all rows alike.
        weight: the column of row weights.
        per: how often a row is drawn.
    """

    table: FileRef
    columns: Mapping[str, str]
    values: npt.NDArray[np.float64] = field(compare=False, repr=False)
    weights: npt.NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    weight: str | None = None
    per: Per = "image"


@dataclass(frozen=True)
class Correlation:
    """A Gaussian copula over leaves.

    Leaves keep their distributions. They may differ in `per`: attributes first, then what is drawn per identity, then
    per image, and a lower triangular factor of `rho` lets the rarely drawn ones drive the often drawn ones.

    Args:
        between: leaf paths.
        rho: correlation of their normal scores: a symmetric positive definite matrix with ones on the diagonal.
    """

    between: tuple[str, ...]
    rho: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Condition:
    """A named stratum with its factors, complete: the loader has merged them over the spec's."""

    name: str
    factors: Factors


@dataclass(frozen=True)
class Design:
    """How leaves are drawn together.

    Args:
        kind: `random`; `sobol` (low-discrepancy over all leaves); `factorial` (every cell of the grids of `axes`, the
            same number of images each); `one_factor` (one anchor per identity, then one thing varied at a time).
        axes: factorial: leaf paths, each a grid.
        vary: one_factor: leaf paths or whole factors (`pose`, `expression`, `lighting`, `noise`).
        steps: one_factor: images for each of `vary`. An identity has 1 + len(vary) · steps images.
        anchor: one_factor: the condition the anchor is drawn from; None: from the spec's factors. What is varied always
            follows the spec's factors.
    """

    kind: Literal["random", "sobol", "factorial", "one_factor"] = "random"
    axes: tuple[str, ...] = ()
    vary: tuple[str, ...] = ()
    steps: int = 0
    anchor: str | None = None


@dataclass(frozen=True)
class PairList:
    """A verification list. `across`: a pair's two images come from these two conditions; empty: from any."""

    split: str
    genuine: int
    impostor: int
    folds: int = 10
    across: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """Re-estimate the factors from the image and act on what is off by more than its limit.

    Args:
        pose_deg: largest angle between the head asked for and the one seen, degrees; None: not looked at.
        expression: largest Euclidean distance of the named actions.
        lighting: largest difference of shading.
        landmarks: largest mean distance, as a share of the face's size.
        identity: largest centred recognition distance to the identity's standard picture.
        on_fail: `flag` marks it, `drop` leaves it out, `resample` draws it again.
        redraw: resample: ε alone, which keeps the requested factors, or everything that is drawn per image.
        max_tries: resample: pictures per image, the first among them; then the best is kept, and marked.
        fraction: share of the images that are looked at.
        estimator: what reads the factors: a name in `quality.estimators.ESTIMATORS`, or a network's folder.
    """

    pose_deg: float | None = AUDIT_LIMITS["pose_deg"]
    expression: float | None = AUDIT_LIMITS["expression"]
    lighting: float | None = AUDIT_LIMITS["lighting"]
    landmarks: float | None = AUDIT_LIMITS["landmarks"]
    identity: float | None = AUDIT_LIMITS["identity"]
    on_fail: Literal["flag", "drop", "resample"] = "flag"
    redraw: Literal["noise", "factors"] = "noise"
    max_tries: int = 5
    fraction: float = 1.0
    estimator: str = "reconstruction"

    @property
    def limits(self) -> dict[str, float]:
        """Factor to its limit, of those that are looked at."""
        limits = {name: getattr(self, name) for name in AUDIT_LIMITS}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True)
class Quality:
    """Checks on the finished images."""

    audit: Audit | None = None


@dataclass(frozen=True)
class Image:
    """What is written: `size` px square, the whole view or ArcFace's five-point crop of it."""

    size: int = 256
    crop: Literal["full", "arcface"] = "full"
    format: Literal["jpg", "png"] = "jpg"
    quality: int = 95


PostKind = Literal["jpeg_quality", "blur_px", "gaussian_noise", "resize_px", "grayscale"]


@dataclass(frozen=True)
class Post:
    """A degradation, applied in the order of the list and recorded in the labels.

    `jpeg_quality` 1–100 (encoded and decoded) · `blur_px` σ of a Gaussian · `gaussian_noise` σ in 8-bit levels ·
    `resize_px` scaled down to this size and up again · `grayscale` 0 (colour) to 1 (grey).
    """

    kind: PostKind
    value: Leaf


@dataclass(frozen=True)
class Shards:
    """How samples are filed. Content doesn't depend on it: sample i is the same wherever it lies.

    Args:
        samples: per shard.
        order: `identity`: an identity's images side by side; `shuffled`: the rows of a split in a keyed random order,
            so that reading shards one after another is as good as shuffling, which training wants.
    """

    samples: int = 10_000
    order: Literal["identity", "shuffled"] = "identity"


@dataclass(frozen=True)
class Output:
    """What is written for each sample."""

    image: Image = Image()
    post: tuple[Post, ...] = ()
    annotations: tuple[str, ...] = ("landmarks",)
    shards: Shards = Shards()


@dataclass(frozen=True)
class Source:
    """Where a spec came from, for messages.

    Args:
        file: name to print; "" for a mapping.
        folder: relative file names start here.
        text: the YAML as given, if it was YAML.
        document: the plain data as given, before any default was filled in.
        positions: place in the document to ((line, column) of its key, (line, column) of its value), from 1.
    """

    file: str = ""
    folder: Path = Path()
    text: str | None = None
    document: Mapping[str, Any] | None = None
    positions: Mapping[tuple[str | int, ...], tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A dataset to be made. See `specs/` for whole ones; `images_per_identity` maps each condition to its number."""

    name: str
    seed: int
    identities: Identities
    images_per_identity: Mapping[str, int]
    version: int = SPEC_VERSION
    generator: str = "default"
    truncation: Truncation = Truncation()
    factors: Factors = Factors()
    joint: tuple[Joint, ...] = ()
    correlate: tuple[Correlation, ...] = ()
    conditions: tuple[Condition, ...] = ()
    design: Design = Design()
    splits: Splits = field(default_factory=lambda: {"train": 1.0})
    pairs: Mapping[str, PairList] = field(default_factory=dict)
    quality: Quality = Quality()
    output: Output = Output()
    source: Source = field(default=Source(), compare=False, repr=False)

    @property
    def strata(self) -> tuple[Condition, ...]:
        """The conditions that images are drawn from: one called `default` where the spec has none or is one_factor."""
        if self.conditions and self.design.kind != "one_factor":
            return self.conditions
        return (Condition(DEFAULT_CONDITION, self.factors),)

    @property
    def anchor_factors(self) -> Factors:
        """one_factor: what the anchor is drawn from."""
        by_name = {condition.name: condition.factors for condition in self.conditions}
        return by_name.get(self.design.anchor or "", self.factors)

    @property
    def num_images(self) -> int:
        """Identities times images of each."""
        return self.identities.count * sum(self.images_per_identity.values())

    def leaves(self) -> dict[str, tuple[Leaf, ...]]:
        """Path to the distinct leaves found there over attributes, strata, the anchor and degradations."""
        found: dict[str, tuple[Leaf, ...]] = {}
        for path, leaf in self._all_leaves():
            known = found.setdefault(path, ())
            found[path] = known if leaf in known else (*known, leaf)
        return found

    def _all_leaves(self) -> Iterator[tuple[str, Leaf]]:
        for name, leaf in self.identities.attributes.items():
            yield f"identities.attributes.{name}", leaf
        for factors in (*(condition.factors for condition in self.strata), self.anchor_factors):
            yield from factors.leaves()
        for number, post in enumerate(self.output.post):
            yield f"output.post[{number}].{post.kind}", post.value

    def files(self) -> tuple[FileRef, ...]:
        """Every file that the spec names, once each."""
        found = [joint.table for joint in self.joint]
        for factors in (self.factors, *(condition.factors for condition in self.conditions)):
            if isinstance(factors.lighting, Environment):
                found.append(factors.lighting.file)
        leaves = (leaf for _, leaf in self._all_leaves())
        found += [ref for leaf in leaves for ref in _files_of(leaf.distribution)]
        return tuple(dict.fromkeys(found))

    @staticmethod
    def from_dict(document: Mapping[str, Any], *, folder: str | Path = ".") -> Spec:
        """A spec from plain data. Raises SpecError with every problem; file names are relative to `folder`."""
        from synthface.spec.loader import spec_from_mapping

        return spec_from_mapping(document, folder=Path(folder))

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default filled in; `Spec.from_dict` makes an equal spec of it."""
        from synthface.spec.dump import spec_to_dict

        return spec_to_dict(self)

    def to_yaml(self) -> str:
        """`to_dict` as YAML."""
        from synthface.spec.dump import to_yaml

        return to_yaml(self.to_dict())

    @property
    def digest(self) -> str:
        """SHA-256 over canonical JSON of all that decides the dataset's bytes; files count by their content."""
        from synthface.spec.dump import digest

        return digest(self)

    def check(self) -> list[SpecProblem]:
        """The problems of a spec built in Python; empty when it's sound."""
        from synthface.spec.loader import problems_of

        return problems_of(self)

    def replace(self, changes: Mapping[str, Any] | None = None, /, **top_level: Any) -> Spec:
        """A copy with some values changed, checked again.

        Args:
            changes: dotted places to new values, as YAML would say them: `{"identities.count": 5,
                "factors.pose.yaw": {"uniform": [-5, 5]}}`. Conditions are merged anew.
            top_level: top-level keys to new values.

        Raises:
            SpecError: the changed spec is wrong.
        """
        from synthface.spec.loader import replaced

        return replaced(self, {**(changes or {}), **top_level})


def _files_of(distribution: Distribution) -> Iterator[FileRef]:
    for _, component in getattr(distribution, "components", ()):
        yield from _files_of(component)
    if isinstance(found := getattr(distribution, "file", None), FileRef):
        yield found
