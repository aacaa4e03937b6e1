"""What the section `reconstruct` of a recipe holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from synthface.networks.backbones import BACKBONES, BackboneConfig
from synthface.networks.skin_reader import SkinReaderConfig
from training.reconstruct.bank import BankRecipe


@dataclass(frozen=True)
class Augmentation:
    """How pictures are changed on their way to the network; zoom, shift and roll change λ and view along.

    Args:
        zoom: greatest change of log zoom.
        shift: greatest shift, fraction of the picture.
        roll_deg: greatest turn in the picture's plane.
        mirror: share of photos that are mirrored.
        coarse: share of pictures that are scaled down to 28–72 px and up again.
        blur: share that is blurred, by up to 1.2 px.
        jpeg: share that goes through JPEG of quality 25–90.
        noise: greatest standard deviation of noise, of 2.
        colour: standard deviation of changes of brightness and contrast: small, for they would belie the light.
        hidden: share with a rectangle of some texture laid over it.
        hair: share of renderings whose scalp gets a colour of its own.
    """

    zoom: float = 0.2
    shift: float = 0.08
    roll_deg: float = 15.0
    mirror: float = 0.5
    coarse: float = 0.3
    blur: float = 0.25
    jpeg: float = 0.15
    noise: float = 0.08
    colour: float = 0.03
    hidden: float = 0.2
    hair: float = 0.7


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; each is a mean, in units where an error of about 1 is as bad as guessing the mean.

    Args:
        pose, view, shape, albedo, expression, sh, band, landmarks, face: against known λ (renderings) or fitted λ (photos).
        photos: factor on the fitted λ's weights, which are no ground truth.
        detector: photos' landmarks against the detector's own.
        photometric: photos' skin against albedo · shading at vertices.
        identity: 1 − centred cosine of f_id between photo and re-rendering.
        prior: of identity coefficients, their mean square.
    """

    pose: float = 2.0
    view: float = 1.0
    shape: float = 3.0
    albedo: float = 3.0
    expression: float = 30.0
    sh: float = 5.0
    band: float = 3.0
    landmarks: float = 12.0
    face: float = 20.0
    photos: float = 0.5
    detector: float = 10.0
    photometric: float = 2.0
    identity: float = 0.3
    prior: float = 0.02


@dataclass(frozen=True)
class NetworkRecipe:
    """One network and its training.

    Args:
        architecture: one of `BACKBONES`.
        backbone: its sizes; `facemesh` and `landmarks` begin with published weights, whose sizes they must have.
        trunk_lr: of `facemesh`, factor on the learning rate of the published layers.
        kept: of `facemesh`, how many of them stay as published: most of the time goes there, and edges are edges.
        look_at: of `landmarks`, pictures that the published layers look at, before what reads them learns.
        skin: sizes of the part that reads light and skin off the face's colours; None leaves it out.
        half: which half of photos and renderings it learns from: 0 or 1.
        seed: of initial weights, order and augmentation.
        images: pictures until the end.
        renderings, photos: pictures of each kind in a batch.
        lr, weight_decay: AdamW's; the rate falls to a hundredth over the second half.
        clip: greatest norm of the gradient.
        augmentation: see there.
        weights: see there.
        identity_every: steps between those that have the term `identity`.
        identity_faces: photos in it.
        log_every, checkpoint_every: pictures.
        num_held_out: of each kind, for the choice of the best checkpoint.
    """

    architecture: str = "plain"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    trunk_lr: float = 0.3
    kept: int = 0
    look_at: int = 40_000
    skin: SkinReaderConfig | None = field(default_factory=SkinReaderConfig)
    half: int = 0
    seed: int = 0
    images: int = 400_000
    renderings: int = 16
    photos: int = 16
    lr: float = 2e-3
    weight_decay: float = 1e-3
    clip: float = 5.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    weights: Weights = field(default_factory=Weights)
    identity_every: int = 8
    identity_faces: int = 4
    log_every: int = 1_000
    checkpoint_every: int = 10_000
    num_held_out: int = 200

    def __post_init__(self) -> None:
        if self.architecture not in BACKBONES:
            raise ValueError(f"architecture is {self.architecture!r}; allowed: {', '.join(BACKBONES)}")
        if self.half not in (0, 1):
            raise ValueError(f"half is {self.half}; allowed: 0, 1")


@dataclass(frozen=True)
class ReconstructRecipe:
    """The stage: a bank, the network that serves, and the one that judges.

    Args:
        bank: renderings' geometry.
        reconstruction: the network of the losses.
        judge: the network that measures.
    """

    bank: BankRecipe = field(default_factory=BankRecipe)
    reconstruction: NetworkRecipe = field(default_factory=NetworkRecipe)
    judge: NetworkRecipe = field(default_factory=lambda: NetworkRecipe(architecture="bottleneck", half=1, seed=1))

    def network(self, role: str) -> NetworkRecipe:
        """The recipe of `reconstruction` or `judge`."""
        return {"reconstruction": self.reconstruction, "judge": self.judge}[role]
