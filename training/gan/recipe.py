"""What a GAN recipe says; its file's section `gan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from synthface.networks.generator import GeneratorConfig
from synthface.networks.mapping import LambdaSizes
from synthface.networks.synthesis import SynthesisConfig
from synthface.networks.vae import VaeConfig
from training.gan.adversarial import Growth
from training.gan.augment import AUGMENTATIONS, Robustification
from training.gan.discriminator import DiscriminatorConfig
from training.gan.losses import MARGIN


@dataclass(frozen=True)
class NetworkRecipe:
    """Both networks' shapes.

    Args:
        size_px: of the pictures.
        style: `modulated` (StyleGAN2, with a residual discriminator) or `adain` (StyleGAN, both grow progressively).
        w_dim, mapping_layers, mapping_lr_multiplier: of the mapping network.
        channel_base, channel_max: a generator block at resolution r has min(channel_base / r, channel_max) channels.
        discriminator_kind: `residual`, `progressive`, or `projected`: small heads on the maps of the frozen network
            `features`, with hinge losses; None is the first for `modulated`, the second for `adain`.
        discriminator_channel_base, discriminator_channel_max: likewise; None is the generator's.
        group_size: of the minibatch standard deviation; 0 leaves it out.
        attention_at, discriminator_attention_at: resolutions with self-attention.
        num_noise: length of ε.
        balanced: scale λ so that identity, expression, light and pose each have a quarter of its variance: else pose, three
            numbers of some hundreds, is heard late.
        by_sight: scale each number of identity by how much of the head it moves or colours, so that G first hears what can
            be seen; else all are heard alike, the last of eighty components as loud as skin tone.
        inputs: whether G takes `lambda` or the λ-VAEs' `z`, which `<data>/priors` must then hold.
    """

    size_px: int = 256
    style: Literal["modulated", "adain"] = "modulated"
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 16384
    channel_max: int = 512
    discriminator_kind: Literal["residual", "progressive", "projected"] | None = None
    discriminator_channel_base: int | None = None
    discriminator_channel_max: int | None = None
    group_size: int = 4
    attention_at: tuple[int, ...] = ()
    discriminator_attention_at: tuple[int, ...] = ()
    num_noise: int = 32
    balanced: bool = False
    by_sight: bool = False
    inputs: Literal["lambda", "z"] = "lambda"

    def generator(self, sizes: LambdaSizes, vaes: Mapping[str, VaeConfig]) -> GeneratorConfig:
        """The generator for a λ of these sizes."""
        synthesis = SynthesisConfig(
            self.style, self.size_px, self.w_dim, self.channel_base, self.channel_max, self.attention_at
        )
        return GeneratorConfig(
            sizes, synthesis, self.num_noise, self.inputs, self.mapping_layers, self.mapping_lr_multiplier, dict(vaes)
        )

    def discriminator(self) -> DiscriminatorConfig:
        """Its discriminator."""
        return DiscriminatorConfig(
            self.discriminator_kind or ("residual" if self.style == "modulated" else "progressive"),
            self.size_px,
            self.discriminator_channel_base or self.channel_base,
            self.discriminator_channel_max or self.channel_max,
            self.group_size,
            self.discriminator_attention_at,
        )


@dataclass(frozen=True)
class OptimiserRecipe:
    """Adam for G, D and the encoder.

    Args:
        lr: of G and D.
        lr_at, batch_at: resolution to what holds from it on, for growing networks.
        batch: pictures a step, over all devices.
        betas: Adam's.
        discriminator_lr_scale: how much faster D learns than G.
        resume_warmup_images: over how many the learning rate rises again after a resume without optimiser state.
        reset_at_growth: forget the moments when a new resolution starts to fade in, as StyleGAN does.
    """

    lr: float = 0.002
    lr_at: Mapping[int, float] = field(default_factory=dict)
    batch: int = 32
    batch_at: Mapping[int, int] = field(default_factory=dict)
    betas: tuple[float, float] = (0.0, 0.99)
    discriminator_lr_scale: float = 1.0
    resume_warmup_images: int = 2000
    reset_at_growth: bool = False

    def at(self, resolution: int) -> tuple[float, int]:
        """Learning rate and batch at a resolution."""
        lr = [rate for start, rate in sorted(self.lr_at.items()) if start <= resolution]
        batch = [size for start, size in sorted(self.batch_at.items()) if start <= resolution]
        return (lr or [self.lr])[-1], (batch or [self.batch])[-1]


@dataclass(frozen=True)
class Imitative:
    """Weights of Eqs. 2–5, and of the pixel loss that stands in for them at low resolution; 0 leaves one out.

    `identity_margin` is τ of Eq. 2: once descriptors are that near, identity is left alone. `identity_share` and
    `reading_share` of a batch go through the recognition and the reconstruction network: on a CPU a picture costs more
    there than in G. `pixel_px` keeps the pixel loss on at higher resolutions too, both pictures brought
    down to it: what a rendering says of pose, light and colour without any network; 0 is the paper's way, below
    `imitate_from_px` only. `pixel_region: inner` keeps that to where no hair hangs into the face: renderings are bald.
    """

    identity: float = 0.0
    landmarks: float = 0.0
    lighting: float = 0.0
    colour: float = 0.0
    pixel: float = 0.0
    identity_margin: float = MARGIN
    pixel_px: int = 0
    pixel_region: Literal["face", "inner"] = "face"
    identity_share: float = 1.0
    reading_share: float = 1.0

    @property
    def is_on(self) -> bool:
        """Whether any has a weight."""
        return any((self.identity, self.landmarks, self.lighting, self.colour, self.pixel))


@dataclass(frozen=True)
class Contrastive:
    """Weights of Eqs. 6–8 and ω; 0 leaves one out."""

    expression: float = 0.0
    structure: float = 0.0
    identity: float = 0.0
    omega: float = 1000.0


@dataclass(frozen=True)
class Reconstruction:
    """The warm start: G(λ_i, E(photo i)) is fitted to photo i.

    Args:
        l1: weight of the mean absolute difference.
        features: weight of the relative distance of frozen features.
        kl: weight of KL(q(code | photo) ‖ N(0, I)), per photo, mean over the code's numbers.
        renderings: share of the batch that is renderings from the bank, compared inside the face; their λ is exact and
            spreads wider than the photos'.
        cross: share of the photos whose code comes from another copy of the same photo, turned and lit otherwise: so the
            code has no use for what λ says already.
    """

    l1: float = 4.0
    features: float = 0.5
    kl: float = 0.02
    renderings: float = 0.0
    cross: float = 0.0
    hides_face: bool = False


@dataclass(frozen=True)
class Stage:
    """A stretch of training.

    Args:
        name: for the log.
        until_images: real pictures seen, counted from the very start, at which it ends.
        adversarial: weight of the adversarial loss; 0 leaves the discriminator out.
        imitative, contrastive: weights.
        reconstruction: None leaves it out.
        codes: where ε of random pictures comes from: `normal`, `photos` (codes of training photos, as a warm start
            leaves them), or `mixed`, half of each.
        pair_batch: pairs a step, over all devices, for the contrastive losses; each picture also meets D.
        lr_scale: of the learning rate.
        beta1: Adam's first β for G and D in place of the optimiser's. A fit gains from momentum, the game mostly doesn't.
    """

    name: str
    until_images: int
    adversarial: float = 1.0
    imitative: Imitative = Imitative()
    contrastive: Contrastive = Contrastive()
    reconstruction: Reconstruction | None = None
    codes: Literal["normal", "photos", "mixed"] = "normal"
    pair_batch: int = 0
    lr_scale: float = 1.0
    beta1: float | None = None

    @property
    def is_contrastive(self) -> bool:
        """Whether pairs are drawn."""
        weights = self.contrastive
        return self.pair_batch > 0 and any((weights.expression, weights.structure, weights.identity))


@dataclass(frozen=True)
class Outputs:
    """What is written how often, in real pictures seen.

    Args:
        log_every: losses to `log.jsonl` (and TensorBoard, where it is installed).
        sheet_every: sample sheets.
        metrics_every: figures; the best checkpoint is kept by `best`.
        checkpoint_every: checkpoints.
        best: the metric to keep the best checkpoint by; `-` before it where more is better.
        num_metric_images: generated for each set of figures.
        precision: of checkpoints: `full` resumes bit for bit; `half` is a third of the size.
        optimiser_state: whether checkpoints hold it.
        keep: checkpoints kept beside the best.
    """

    log_every: int = 1000
    sheet_every: int = 20_000
    metrics_every: int = 20_000
    checkpoint_every: int = 20_000
    best: str = "fd"
    num_metric_images: int = 1000
    precision: Literal["full", "half"] = "half"
    optimiser_state: bool = True
    keep: int = 2


@dataclass(frozen=True)
class GanRecipe:
    """A whole training run.

    Args:
        stages: in order; the last one's `until_images` ends the run.
        network, optimiser, outputs: see there.
        r1_gamma, r1_every: R1's γ, and every how many steps it is taken (lazily, with its weight scaled up); None is 10,
            and no R1 for a `projected` discriminator.
        diff_augment: policy, names of `augment.AUGMENTATIONS`; none for large data sets.
        mirror: mirror half of the real pictures that D sees. G sees λ mirrored only where the pack holds mirrored copies.
        wide_share: share of what is drawn (photos to be made anew, λ of random pictures) that is the most turned of eight;
            D's photos then have like poses.
        trusts_filled: take the pixels that turned copies of photos had to fill in for photo. They look right at 64²; masked,
            nobody tells G what belongs there.
        growth: the progressive schedule; for `adain`, and None for `modulated`.
        ema_half_life_images: of the moving average of G.
        ema_rampup: at first the half-life is this share of the images seen, so that the average soon forgets where G
            started (StyleGAN2 takes 0.05); None has it full from the start.
        imitate_from_px: below this resolution the pixel loss stands in for Eqs. 2–5.
        robustify: how far pictures are disturbed before frozen networks in losses; None not at all.
        frozen: roles (`recognition`, `reconstruction`, `parser`, `features`, `judge`) of the frozen networks to load;
            the data folder says which networks play them.
        precision: `bfloat16` uses it on a GPU.
        encoder_channels: of the warm start's encoder.
        seed: of everything.
    """

    stages: tuple[Stage, ...]
    network: NetworkRecipe = NetworkRecipe()
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    outputs: Outputs = Outputs()
    r1_gamma: float | None = None
    r1_every: int = 16
    diff_augment: tuple[str, ...] = ()
    mirror: bool = True
    wide_share: float = 0.0
    trusts_filled: bool = False
    growth: Growth | None = None
    ema_half_life_images: float = 10_000.0
    ema_rampup: float | None = None
    imitate_from_px: int = 64
    robustify: Robustification | None = field(default_factory=Robustification)
    frozen: tuple[Literal["recognition", "reconstruction", "parser", "features", "judge"], ...] = ()
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    encoder_channels: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(problem)

    @property
    def r1(self) -> float:
        """R1's γ; 0 is none."""
        if self.r1_gamma is None:
            return 0.0 if self.network.discriminator_kind == "projected" else 10.0
        return self.r1_gamma

    def stage_at(self, num_images: int) -> Stage | None:
        """The stage that is on after so many pictures; None once all are done."""
        return next((stage for stage in self.stages if num_images < stage.until_images), None)

    def _problems(self) -> list[str]:
        found = []
        ends = [stage.until_images for stage in self.stages]
        if not ends or ends != sorted(set(ends)):
            found.append(f"stages end at {ends}; they must be there, and end one after the other")
        unknown = [name for name in self.diff_augment if name not in AUGMENTATIONS]
        if unknown:
            found.append(f"diff_augment names {', '.join(unknown)}; allowed: {', '.join(AUGMENTATIONS)}")
        kinds = {"modulated": (None, "residual", "projected"), "adain": (None, "progressive")}[self.network.style]
        if self.network.discriminator_kind not in kinds:
            allowed = ", ".join(kind for kind in kinds if kind)
            found.append(
                f"network.discriminator_kind is {self.network.discriminator_kind}; allowed with {self.network.style}: {allowed}"
            )
        if (self.network.style == "adain") != (self.growth is not None):
            found.append("growth goes with network.style adain, and only with it")
        for role, needed in self.needs().items():
            if role not in self.frozen:
                found.append(f"{needed} needs {role} among frozen: add it, or take the weight out")
        return found

    def needs(self) -> dict[str, str]:
        """Frozen role to the first weight that needs it."""
        needs: dict[str, str] = {}
        if self.network.discriminator_kind == "projected":
            needs["features"] = "network.discriminator_kind projected"
        for stage in self.stages:
            weights = {
                "imitative.identity": (stage.imitative.identity, ("recognition",)),
                "imitative.landmarks": (stage.imitative.landmarks, ("reconstruction",)),
                "imitative.lighting": (stage.imitative.lighting, ("reconstruction",)),
                "contrastive.structure": (stage.contrastive.structure, ("reconstruction", "parser")),
                "contrastive.identity": (stage.contrastive.identity, ("recognition",)),
                "reconstruction.features": (
                    stage.reconstruction.features if stage.reconstruction else 0,
                    ("features",),
                ),
            }
            for name, (weight, roles) in weights.items():
                for role in roles if weight else ():
                    needs.setdefault(role, f"stage {stage.name}: {name}")
        return needs
