"""One step of training, and the state that it moves: G, its average, D, the encoder, their optimisers."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from synthface.networks.generator import GeneratorNetwork
from synthface.networks.mapping import GROUPS, broadcast
from synthface.networks.noise import random_noise_maps
from training import checkpoint
from training.gan import adversarial
from training.gan.augment import diff_augment
from training.gan.bank import EXPRESSION, LIGHTING, BankRows
from training.gan.data import GanData, draw_rows
from training.gan.discriminator import make_discriminator
from training.gan.encoder import Encoder
from training.gan.frozen import Frozen, freeze
from training.gan.heads import by_sight, project_landmarks
from training.gan.looking import PhotoMaps, Remade, Seen, detached, judge, look, split
from training.gan.objectives import Objectives, Terms, inner_face, total
from training.gan.projected import ProjectedDiscriminator
from training.gan.recipe import GanRecipe, Stage
from training.gan.world import World

#: Least scale that parts of λ are standardised by.
_LEAST_SCALE = {"expression": 0.1, "sh": 0.05, "pose_rad": 0.05}
#: Photos among which one of like pose is looked for.
_CANDIDATES = 256


@dataclass
class Progress:
    """How far a run is; saved with checkpoints.

    Args:
        num_images: real pictures seen, over all devices.
        num_steps: steps taken.
        resumed_at: `num_images` at the last resume without optimiser state, from which the learning rate rises.
        noise_of_stage: the stage at whose beginning ε was last matched to the photos' codes.
        resolution: of the last step, for growing networks.
    """

    num_images: int = 0
    num_steps: int = 0
    resumed_at: int | None = None
    noise_of_stage: str = ""
    resolution: int = 0


@dataclass(frozen=True)
class Fakes:
    """The random pictures of a step, in groups that D judges one at a time.

    Args:
        ordinary: (N, 3, H, W), with the renderings that they should look like.
        rows: those renderings; None without a bank.
        pairs: kind of pair to pictures, partners and their renderings, and flows where there are.
        vector: (M, total) λ of all pictures, in the order of `groups`.
    """

    ordinary: Tensor
    rows: BankRows | None
    pairs: Mapping[int, tuple[Tensor, Tensor, BankRows, BankRows, Tensor | None]]
    vector: Tensor

    def groups(self) -> list[Tensor]:
        """Every batch for D. The two pictures of a pair never share a batch: D's batch statistics would tell."""
        return [self.ordinary, *(part for pair in self.pairs.values() for part in pair[:2])]


class Trainer:
    """A run's networks and how they move.

    Every random number of a step is drawn from a generator keyed by (seed, step, process), so that a resumed run draws
    what an unbroken one would have.

    Args:
        recipe: of the run.
        data: what it trains on.
        frozen: the networks that the losses look through.
        world: this process among its like.
    """

    def __init__(self, recipe: GanRecipe, data: GanData, frozen: Frozen, world: World) -> None:
        self.recipe, self.data, self.world = recipe, data, world
        self.progress = Progress()
        self.objectives = Objectives(frozen, data.sizes, recipe.robustify, recipe.imitate_from_px)
        torch.manual_seed(recipe.seed)
        config = recipe.network.generator(data.sizes, {name: vae.config for name, vae in data.vaes.items()})
        self.generator = GeneratorNetwork(config)
        self._fill_constants(self.generator)
        self.discriminator = self._make_discriminator(frozen)
        self.encoder = Encoder(
            recipe.network.num_noise, num_channels=recipe.encoder_channels, size_px=recipe.network.size_px
        )
        self.average = freeze(copy.deepcopy(self.generator))
        for network in self.networks.values():
            network.to(world.device, memory_format=torch.channels_last)
        self.optimisers = self._make_optimisers()
        self._photo_maps = self._make_photo_maps(frozen)
        #: Codes of the training photos, as the encoder last gave them; NaN where it hasn't seen the photo.
        self.codes = torch.full((len(data.pack), recipe.network.num_noise), math.nan)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Every trained network, by the name it is saved under."""
        return {
            "generator": self.generator,
            "average": self.average,
            "discriminator": self.discriminator,
            "encoder": self.encoder,
        }

    @cached_property
    def landmarks(self) -> Tensor:
        """Where the photos' landmarks are by their λ: (M, 68, 2), fractions of the size."""
        return project_landmarks(self.data.pack.vector, self.data.sizes)

    @property
    def level(self) -> float | None:
        """How far growing networks have grown; None for others."""
        growth = self.recipe.growth
        return None if growth is None else growth.level(self.progress.num_images, self.recipe.network.size_px)

    @property
    def resolution(self) -> int:
        """Of the pictures that are made now."""
        level = self.level
        return self.recipe.network.size_px if level is None else int(2 ** math.ceil(level))

    def step(self, stage: Stage) -> dict[str, Tensor]:
        """One step: D on real and generated pictures, then G through D and the other losses; returns unweighted terms."""
        self._on_growth()
        if stage.adversarial:
            self.match_noise(stage)
        rate, batch = self.recipe.optimiser.at(self.resolution)
        self._set_learning_rate(rate * stage.lr_scale)
        self._set_beta1(stage)
        rng = self.rng("step", device=self.world.device)
        rng_cpu = self.rng("data")
        num = self.world.share(batch)
        fakes, picture, remade, terms = None, None, None, {}
        if stage.adversarial or stage.is_contrastive or stage.imitative.is_on:
            fakes = self._fakes(stage, num, rng_cpu, rng)
        if stage.reconstruction is not None:
            picture, remade, terms = self._reconstruct(stage, num, rng_cpu, rng)
        logged: dict[str, Tensor] = {}
        seen: list[Seen] = []
        if stage.adversarial:
            seen, real = self._look(fakes, picture, remade, rng_cpu, rng)
            logged |= self._discriminator_step(seen, real, rng_cpu, rng)
        logged |= self._generator_step(stage, fakes, seen, terms, rng)
        half_life = self.recipe.ema_half_life_images
        if self.recipe.ema_rampup is not None:
            half_life = min(half_life, self.progress.num_images * self.recipe.ema_rampup)
        adversarial.update_average(self.average, self.generator, num_images=batch, half_life_images=half_life)
        self.progress.num_images += batch
        self.progress.num_steps += 1
        return logged

    def rng(self, purpose: str, *, device: torch.device | None = None) -> torch.Generator:
        """A generator keyed by seed, step, process and purpose."""
        purposes = ("step", "data", "metrics", "sheets")
        key = (self.recipe.seed * 1_000_003 + self.progress.num_steps) * 64 + self.world.rank
        return torch.Generator(device or "cpu").manual_seed((key * 4 + purposes.index(purpose)) % 2**63)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 on a GPU where the recipe says so."""
        if self.world.device.type != "cuda" or self.recipe.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast("cuda", dtype=torch.bfloat16)

    def draw_codes(self, stage: Stage | None, num: int, *, generator: torch.Generator) -> Tensor:
        """Codes (num, E) of random pictures, on the device: from ε ~ N(0, I), from photos, or half and half."""
        mapping = self.generator.mapping
        normal = torch.randn(num, self.codes.shape[1], generator=generator).to(self.world.device)
        codes = mapping.noise_mean + normal @ mapping.noise_mix.T
        seen = torch.nonzero(~self.codes[:, 0].isnan())[:, 0]
        if stage is None or stage.codes == "normal" or len(seen) == 0:
            return codes
        photos = self.codes[seen[torch.randint(len(seen), (num,), generator=generator)]].to(self.world.device)
        if stage.codes == "photos":
            return photos
        is_photo = torch.arange(num, device=codes.device) % 2 == 0
        return torch.where(is_photo[:, None], photos, codes)

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint holds."""
        outputs = self.recipe.outputs
        saved: dict[str, Tensor] = {"codes": self.codes}
        for name, network in self.networks.items():
            saved |= checkpoint.module_tensors(name, network, outputs.precision)
        if outputs.optimiser_state:
            for name, optimiser in self.optimisers.items():
                saved |= checkpoint.optimiser_tensors(f"optimiser_{name}", optimiser, outputs.precision)
        return saved

    def load(self, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> list[str]:
        """Go on from a checkpoint; the recipe may have changed meanwhile. Returns what had to start anew, in words."""
        self.progress = Progress(**progress)
        anew = []
        if tensors["codes"].shape == self.codes.shape:
            self.codes = tensors["codes"].float()
        else:
            anew.append("codes of the photos, and what λ is standardised by: the pack has changed")
        names = list(self.networks)
        if not _fits("discriminator", self.discriminator, tensors):
            names.remove("discriminator")
            anew.append("the discriminator: the recipe's is another one")
        for name in names:
            checkpoint.load_module(name, self.networks[name], tensors)
        if tensors["codes"].shape != self.codes.shape:
            for network in (self.generator, self.average):
                self._fill_constants(network)
            self.progress.noise_of_stage = ""
        found = [
            checkpoint.load_optimiser(f"optimiser_{name}", self.optimisers[name], tensors)
            for name in names
            if name in self.optimisers
        ]
        if not any(found):
            self.progress.resumed_at = self.progress.num_images
        return anew

    def _make_discriminator(self, frozen: Frozen) -> nn.Module:
        """The recipe's; a projected one learns the spread of its features on photos first."""
        config = self.recipe.network.discriminator()
        if config.kind != "projected":
            self._discriminator_loss, self._generator_loss = adversarial.discriminator_loss, adversarial.generator_loss
            return make_discriminator(config)
        assert frozen.features is not None
        self._discriminator_loss = adversarial.hinge_discriminator_loss
        self._generator_loss = adversarial.hinge_generator_loss
        rows = torch.randperm(len(self.data.pack), generator=torch.Generator().manual_seed(self.recipe.seed))[:64]
        return ProjectedDiscriminator(frozen.features, self.data.pack.images(rows).to(self.world.device))

    def _make_photo_maps(self, frozen: Frozen) -> PhotoMaps | None:
        """For a D that looks through a frozen network at photos as they are, the maps of them; None for others."""
        recipe = self.recipe
        if recipe.network.discriminator_kind != "projected" or recipe.diff_augment or recipe.mirror:
            return None
        assert frozen.features is not None
        return PhotoMaps(frozen.features, self.data.pack, self.world.device)

    def _fill_constants(self, network: GeneratorNetwork) -> None:
        """Standardisation and the neutral λ from the photos; the λ-VAEs for a G that takes z."""
        vector, sizes = self.data.pack.vector.to(self.world.device), self.data.sizes
        network.to(self.world.device)
        for name, vae in self.data.vaes.items():
            network.vaes[name].load_state_dict(vae.state_dict())
        network.vaes.requires_grad_(False)
        if self.recipe.network.inputs == "lambda":
            network.mapping.set_standardisation(vector)
            # What hardly varies in the photos must not blow up when a spec asks for it.
            for name, least in _LEAST_SCALE.items():
                network.mapping.scale[sizes.parts[name]].clamp_(min=least)
            if self.recipe.network.by_sight:
                columns = sizes.columns("identity").to(vector.device)
                loudness = by_sight(vector, sizes)[columns]
                network.mapping.scale[columns] /= loudness / loudness.square().mean().sqrt()
            for name in GROUPS if self.recipe.network.balanced else ():
                columns = sizes.columns(name).to(vector.device)
                network.mapping.scale[columns] *= math.sqrt(len(GROUPS) * len(columns) / sizes.total)
        network.neutral[sizes.parts["sh"]] = vector[:, sizes.parts["sh"]].mean(dim=0)

    def _make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        settings, every = self.recipe.optimiser, self.recipe.r1_every
        # Lazy R1 adds a step's worth of gradient every so many steps. Source: Karras et al. 2020, appendix B.
        lazy = every / (every + 1) if every > 1 else 1.0
        lazy = lazy if self.recipe.r1 else 1.0
        self._lazy = lazy
        betas = {"discriminator": tuple(beta**lazy for beta in settings.betas), "encoder": (0.9, 0.99)}
        self._rate_scale = {"discriminator": lazy * settings.discriminator_lr_scale}
        self.discriminator.requires_grad_(True)
        return {
            name: torch.optim.Adam(
                [p for p in self.networks[name].parameters() if p.requires_grad],
                lr=settings.lr,
                betas=betas.get(name, settings.betas),  # type: ignore[arg-type]
                eps=1e-8,
            )
            for name in ("generator", "discriminator", "encoder")
        }

    def _set_learning_rate(self, rate: float) -> None:
        """The step's learning rate, rising anew after a resume without moments."""
        progress, over = self.progress, self.recipe.optimiser.resume_warmup_images
        if progress.resumed_at is not None and over > 0:
            rate *= min(1.0, (progress.num_images - progress.resumed_at + 1) / over)
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rate * self._rate_scale.get(name, 1.0)

    def _set_beta1(self, stage: Stage) -> None:
        """The stage's first β of Adam, or the recipe's."""
        for name in ("generator", "discriminator"):
            beta1 = self.recipe.optimiser.betas[0] if stage.beta1 is None else stage.beta1
            power = self._lazy if name == "discriminator" else 1.0
            for group in self.optimisers[name].param_groups:
                group["betas"] = (beta1**power, group["betas"][1])

    def _on_growth(self) -> None:
        """Forget the moments when a new resolution starts."""
        if self.resolution != self.progress.resolution:
            if self.recipe.optimiser.reset_at_growth and self.progress.resolution:
                self.optimisers = self._make_optimisers()
            self.progress.resolution = self.resolution

    def match_noise(self, stage: Stage) -> None:
        """Let ε ~ N(0, I) stand for codes distributed as the photos' are.

        Done when an adversarial stage begins, and before pictures of a warm start are looked at.
        """
        seen = self.codes[~self.codes[:, 0].isnan()]
        if self.progress.noise_of_stage != stage.name and len(seen) > 2 * self.codes.shape[1]:
            for network in (self.generator, self.average):
                network.mapping.set_noise_distribution(seen.to(self.world.device))
            if stage.adversarial:
                self.progress.noise_of_stage = stage.name

    def _pictures(self, vector: Tensor, codes: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Pictures of λ (N, total) and codes (N, E)."""
        # λ holds angles to a fraction of a degree: the mapping network keeps full precision.
        w = self.generator.mapping.from_code(self.generator.condition(vector), codes)
        with self.autocast():
            picture: Tensor = self.generator.synthesis(broadcast(w, self.generator.num_ws), maps, level=self.level)
        return picture

    def _maps(self, num: int, rng: torch.Generator) -> list[Tensor]:
        resolutions = self.generator.config.synthesis.noise_resolutions
        used = [r for r in resolutions if r <= self.resolution]
        return random_noise_maps(num, used, generator=rng, device=self.world.device)

    def _fakes(self, stage: Stage, num: int, rng_cpu: torch.Generator, rng: torch.Generator) -> Fakes:
        """Random pictures, and pairs of them in a contrastive stage; all in one pass through G."""
        device, bank = self.world.device, self.data.bank
        rows: list[BankRows] = []
        if bank is None:
            vectors = [self.data.random_vectors(num, generator=rng_cpu).to(device)]
        else:
            numbers = draw_rows(bank.vector, bank.sizes, num, self.recipe.wide_share, generator=rng_cpu)
            rows.append(bank.rows(numbers).to(device))
            vectors = [rows[0].vector]
        codes, maps = [self.draw_codes(stage, num, generator=rng_cpu)], [self._maps(num, rng)]
        firsts = self._pair_numbers(stage, rng_cpu)
        for numbers in firsts.values():
            assert bank is not None
            rows += [bank.rows(numbers).to(device), bank.rows(numbers + 1).to(device)]
            vectors += [rows[-2].vector, rows[-1].vector]
            # ε and the noise maps are shared within a pair: nothing but one factor of λ differs.
            codes += [self.draw_codes(stage, len(numbers), generator=rng_cpu)] * 2
            maps += [self._maps(len(numbers), rng)] * 2
        joined = [torch.cat(same) for same in zip(*maps, strict=True)]
        pictures = self._pictures(torch.cat(vectors), torch.cat(codes), joined)
        parts = torch.split(pictures, [len(vector) for vector in vectors])
        pairs = {}
        for number, (kind, numbers) in enumerate(firsts.items()):
            assert bank is not None
            flow = bank.flow(numbers).to(device) if kind == EXPRESSION else None
            place = 1 + 2 * number
            pairs[kind] = (parts[place], parts[place + 1], rows[place], rows[place + 1], flow)
        return Fakes(parts[0], rows[0] if rows else None, pairs, torch.cat(vectors))

    def _pair_numbers(self, stage: Stage, rng: torch.Generator) -> dict[int, Tensor]:
        """First rows of the step's pairs, half of each kind that has a weight."""
        if not stage.is_contrastive or self.data.bank is None:
            return {}
        weights = stage.contrastive
        kinds = [EXPRESSION] * bool(weights.expression) + [LIGHTING] * bool(weights.structure or weights.identity)
        num = self.world.share(stage.pair_batch) // len(kinds)
        available = self.data.bank.pairs
        return {k: available[k][torch.randint(len(available[k]), (num,), generator=rng)] for k in kinds}

    def _real_seen(
        self, num: int, vector: Tensor | None, rng_cpu: torch.Generator, rng: torch.Generator
    ) -> tuple[Seen, Tensor | None]:
        """What D judges of photos, and where they are valid; see `_draw_photos`."""
        numbers = self._draw_photos(num, vector, rng_cpu)
        if self._photo_maps is None:
            photos, valid = self._real(numbers, rng_cpu)
            return self._seen(photos, rng), valid
        valid = self.data.pack.valid(numbers)
        return self._photo_maps(numbers), None if valid is None else valid.to(self.world.device)

    def _draw_photos(self, num: int, vector: Tensor | None, rng: torch.Generator) -> Tensor:
        """Numbers (num,) of photos for D; those beside generated pictures of λ (M, total) have like poses where that matters.

        A mask tells how the head was turned: on a head turned otherwise it would give the picture away. And where wide poses
        are sought, D must not learn that turned heads are generated.
        """
        numbers = torch.randint(len(self.data.pack), (num,), generator=rng)
        if vector is None or self.recipe.mirror or not (self.data.pack.has_valid or self.recipe.wide_share):
            return numbers
        place = self.data.sizes.parts["pose_rad"]
        candidates = torch.randint(len(self.data.pack), (_CANDIDATES,), generator=rng)
        distances = torch.cdist(vector[:, place].cpu(), self.data.pack.vector[candidates, place])
        numbers[: len(vector)] = candidates[distances.argmin(dim=1)]
        return numbers

    def _real(self, numbers: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Photos (N, 3, H, W) at the present resolution, half of them mirrored, and where they are valid."""
        num = len(numbers)
        photos, valid = self.data.pack.images(numbers), self.data.pack.valid(numbers)
        if self.recipe.mirror:
            flip = (torch.rand(num, generator=rng) < 0.5)[:, None, None, None]
            photos = torch.where(flip, photos.flip(3), photos)
            valid = None if valid is None else torch.where(flip, valid.flip(3), valid)
        photos = adversarial.real_at_level(photos.to(self.world.device), self.level)
        if valid is None:
            return photos, None
        valid = nn.functional.adaptive_avg_pool2d(valid.to(self.world.device), photos.shape[-1])
        return photos * valid, valid

    def _look(
        self,
        fakes: Fakes | None,
        picture: Tensor | None,
        remade: Remade | None,
        rng_cpu: torch.Generator,
        rng: torch.Generator,
    ) -> tuple[list[Seen], list[Seen]]:
        """What D judges: groups of generated pictures, with their gradient, and as many real ones for each.

        Where photos are only partly valid, generated pictures get the same masks. D and G judge one and the same look at a
        generated picture: through a frozen network that is what costs.
        """
        groups = fakes.groups() if fakes is not None else []
        if picture is not None and remade is None:
            groups.append(picture)
        sizes = [len(group) for group in groups]
        seen: list[Seen] = []
        real: list[Seen] = []
        if groups:
            photos, valid = self._real_seen(sum(sizes), fakes.vector if fakes else None, rng_cpu, rng)
            shown = torch.cat(groups) if valid is None else torch.cat(groups) * valid
            seen += split(self._seen(shown, rng), sizes)
            real += split(photos, sizes)
        if remade is not None:
            seen.append(remade.seen)
            real.append(remade.photo)
        return seen, real

    def _seen(self, pictures: Tensor, rng: torch.Generator) -> Seen:
        """What D judges of pictures, augmented first."""
        with self.autocast():
            return look(self.discriminator, diff_augment(pictures, self.recipe.diff_augment, generator=rng))

    def _judge(self, seen: Seen) -> Tensor:
        """D's logits."""
        with self.autocast():
            return judge(self.discriminator, seen, level=self.level).float()

    def _discriminator_step(
        self, seen: Sequence[Seen], real: Sequence[Seen], rng_cpu: torch.Generator, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """D learns to tell."""
        optimiser = self.optimisers["discriminator"]
        self.discriminator.requires_grad_(True)
        num_all = sum(len(group[0]) for group in seen)
        losses, real_logits, fake_logits = [], [], []
        for fake_group, real_group in zip(seen, real, strict=True):
            judged_real, judged_fake = self._judge(real_group), self._judge(detached(fake_group))
            losses.append(len(fake_group[0]) / num_all * self._discriminator_loss(judged_real, judged_fake))
            real_logits.append(judged_real.detach())
            fake_logits.append(judged_fake.detach())
        r1 = None
        if self.recipe.r1 and self.progress.num_steps % self.recipe.r1_every == 0:
            photos, _ = self._real(self._draw_photos(len(seen[0][0]), None, rng_cpu), rng_cpu)
            r1 = adversarial.r1_penalty(lambda x: self._judge(self._seen(x, rng)), photos, gamma=self.recipe.r1)
        optimiser.zero_grad(set_to_none=True)
        loss = torch.stack(losses).sum()
        (loss if r1 is None else loss + r1 * self.recipe.r1_every).backward()
        self.world.average_gradients(self.discriminator)
        optimiser.step()
        logged = {
            "d": loss.detach(),
            "d_real": torch.cat(real_logits).mean(),
            "d_fake": torch.cat(fake_logits).mean(),
        }
        return logged if r1 is None else {**logged, "r1": r1.detach()}

    def _generator_step(
        self, stage: Stage, fakes: Fakes | None, seen: Sequence[Seen], terms: Terms, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """G learns from every weighted loss of the stage; the encoder learns with it."""
        terms = dict(terms)
        self.discriminator.requires_grad_(False)
        if stage.adversarial:
            logits = torch.cat([self._judge(group) for group in seen])
            terms["g"] = (stage.adversarial, self._generator_loss(logits))
        if fakes is not None and fakes.rows is not None:
            terms |= self.objectives.imitative(fakes.ordinary, fakes.rows, stage.imitative, generator=rng)
            terms |= self._contrastive(stage, fakes, rng)
        used = [self.generator, *([self.encoder] if stage.reconstruction is not None else [])]
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        total(terms).backward()
        self.world.average_gradients(*used)
        self.optimisers["generator"].step()
        if stage.reconstruction is not None:
            self.optimisers["encoder"].step()
        return {name: term.detach() for name, (_, term) in terms.items()}

    def _contrastive(self, stage: Stage, fakes: Fakes, rng: torch.Generator) -> Terms:
        terms: dict[str, tuple[float, Tensor]] = {}
        weights = stage.contrastive
        if EXPRESSION in fakes.pairs:
            x, x_other, first, second, flow = fakes.pairs[EXPRESSION]
            assert flow is not None
            loss = self.objectives.expression_pair(x, x_other, first, second, flow)
            terms["expression_pair"] = (weights.expression, loss)
        if LIGHTING in fakes.pairs:
            x, x_other, first, _, _ = fakes.pairs[LIGHTING]
            terms |= self.objectives.lighting_pair(x, x_other, first, weights, generator=rng)
        return terms

    def _reconstruct(
        self, stage: Stage, num: int, rng_cpu: torch.Generator, rng: torch.Generator
    ) -> tuple[Tensor, Remade | None, Terms]:
        """Photos, and renderings where asked for, made anew from their λ and a code.

        Where D looks at photos as they are, it can judge by what the loss of features has seen already.
        """
        weights = stage.reconstruction
        assert weights is not None
        num_rendered = round(num * weights.renderings)
        shares = self._photo_maps is not None and not num_rendered and weights.features > 0
        pack, share = self.data.pack, self.recipe.wide_share
        numbers = draw_rows(pack.vector, self.data.sizes, num - num_rendered, share, generator=rng_cpu)
        photo, valid = self.data.pack.images(numbers), self.data.pack.valid(numbers)
        mask = torch.ones_like(photo[:, :1]) if valid is None else valid
        vector = self.data.pack.vector[numbers]
        if num_rendered:
            assert self.data.bank is not None
            rows = self.data.bank.rows(torch.randint(len(self.data.bank), (num_rendered,), generator=rng_cpu))
            size = photo.shape[-1]
            image = nn.functional.interpolate(rows.image, size=(size, size), mode="bilinear", align_corners=False)
            inside = nn.functional.adaptive_avg_pool2d(rows.mask, size) if rows.mask.shape[-1] > size else rows.mask
            inside = nn.functional.interpolate(inside, size=(size, size))
            photo, mask, vector = (torch.cat(pair) for pair in ((photo, image), (mask, inside), (vector, rows.vector)))
        photo, mask, vector = (x.to(self.world.device) for x in (photo, mask, vector))
        target = adversarial.real_at_level(photo, self.level)
        mask = nn.functional.adaptive_avg_pool2d(mask, target.shape[-1])
        shown, rows = photo, numbers
        num_crossed = round((num - num_rendered) * weights.cross)
        if num_crossed:
            # The rows themselves are drawn at random: the first few will do.
            others = self.data.pack.partners(numbers[:num_crossed], generator=rng_cpu)
            shown = torch.cat([self.data.pack.images(others).to(photo), photo[num_crossed:]])
            numbers = torch.cat([others, numbers[num_crossed:]])
        if weights.hides_face:
            shown = torch.cat([self._without_face(shown[: len(rows)], numbers), shown[len(rows) :]])
        with self.autocast():
            mean, log_variance = self.encoder(shown)
        noise = torch.randn(mean.shape, generator=rng, device=rng.device).to(mean.device)
        code = mean + (0.5 * log_variance).exp() * noise
        picture = self._pictures(vector, code, self._maps(num, rng))
        self._remember(numbers, mean[: len(numbers)].detach())
        photo_maps = self._photo_maps(rows) if self._photo_maps is not None and shares else None
        terms, seen = self.objectives.reconstruction(
            picture, target, mask, mean, log_variance, weights, photo_maps=photo_maps
        )
        return picture, None if photo_maps is None else Remade(seen, photo_maps), terms

    def _without_face(self, photos: Tensor, numbers: Tensor) -> Tensor:
        """Photos (N, 3, H, W) with these numbers, the face blank."""
        landmarks = self.landmarks[numbers].to(photos)
        return photos * (1.0 - inner_face(landmarks, photos.shape[-1], reach=1.0, forehead=0.5))

    def _remember(self, numbers: Tensor, codes: Tensor) -> None:
        device = self.world.device
        everyone = self.world.gather_rows(numbers.to(device)).cpu()
        self.codes[everyone] = self.world.gather_rows(codes).float().cpu()


def _fits(name: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a checkpoint's network has the shapes of this one."""
    theirs = {key.removeprefix(f"{name}."): value.shape for key, value in tensors.items() if key.startswith(f"{name}.")}
    return theirs == {key: value.shape for key, value in network.state_dict().items()}
