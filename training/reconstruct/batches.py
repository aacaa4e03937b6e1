"""What the network sees at a step: renderings under fresh skin and light, photos, both moved and worn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.factors.mirror import Mirror
from synthface.morphable.basis import MorphableBasis
from synthface.networks.mapping import LambdaSizes
from synthface.networks.points import Points
from training.lambda_table import LambdaTable
from training.mirror import mirror_matrix
from training.reconstruct.bank import Bank
from training.reconstruct.draw import draw_albedo, draw_light
from training.reconstruct.photos import FittedPhotos, split, split_bank
from training.reconstruct.pictures import Skin, backgrounds, over, shade, wear, with_hair
from training.reconstruct.recipe import Augmentation
from training.reconstruct.warp import Warp

Rows = npt.NDArray[np.int64]
_MILD = Augmentation(0.1, 0.04, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.5)


@dataclass(frozen=True)
class Batch:
    """R renderings, then P photos.

    Args:
        images: (R + P, 3, s, s) in [−1, 1], as the network sees them.
        vector: (R + P, total) λ: true for renderings, fitted for photos.
        view: (R + P, 3).
        num_renderings: R.
        photos: (P, 3, s, s) the photos before they were worn.
        detector: (P, L, 2) the detector's landmarks, fractions of the picture.
        has_detector: (P,) false where they have lost their order, by mirroring.
    """

    images: Tensor
    vector: Tensor
    view: Tensor
    num_renderings: int
    photos: Tensor
    detector: Tensor
    has_detector: Tensor


@dataclass(frozen=True)
class World:
    """Everything that batches are drawn from.

    Args:
        basis: the morphable model.
        bank: renderings' geometry.
        photos: photos; None for renderings alone.
        table: the λ table that light, skin and faces are drawn from; None for made-up ones.
        size_px: of the network's pictures.
        detector: where the landmarks of the photos' detector are on the mesh; None where that isn't known.
    """

    basis: MorphableBasis
    bank: Bank
    photos: FittedPhotos | None
    table: LambdaTable | None
    size_px: int
    detector: Points | None = None

    @property
    def sizes(self) -> LambdaSizes:
        """The lengths of λ's parts."""
        return LambdaSizes.of(self.basis.layout())

    @cached_property
    def mirror(self) -> Tensor:
        """λ to λ of the mirrored picture; see `training.mirror.mirror_matrix`."""
        if not self.basis.mirror.size:
            return torch.eye(self.sizes.total)
        return mirror_matrix(Mirror.of(self.basis), self.sizes)


class Batches:
    """Batches by step, each from its own seed.

    Args:
        world: what to draw from.
        half: 0 or 1: the half to learn from; −1: what is held out.
        strength: of the augmentation; mirroring needs a morphable model that knows its vertices' twins.
        seed: of everything.
    """

    def __init__(self, world: World, half: int, strength: Augmentation, seed: int) -> None:
        self.world, self.strength, self.seed = world, strength, seed
        self.skin = Skin.of(world.basis)
        self.rendered = np.flatnonzero(split_bank(len(world.bank)) == half)
        # Faces with several actions teach more than faces at rest.
        share = 0.5 + (world.bank.expression[self.rendered] > 0.1).sum(axis=1)
        self.share = share / share.sum() if half >= 0 else None
        photos = world.photos
        self.taken = np.zeros(0, np.int64) if photos is None else np.flatnonzero(split(photos.keys) == half)

    def draw(self, step: int, num_renderings: int, num_photos: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        rows = rng.choice(self.rendered, num_renderings, p=self.share)
        num_photos = num_photos if len(self.taken) else 0
        return self.of_rows(rows, rng.choice(self.taken, num_photos) if num_photos else self.taken[:0], rng)

    def of_rows(self, rows: Rows, photo_rows: Rows, rng: np.random.Generator, *, is_worn: bool = True) -> Batch:
        """The batch of these rows of bank and photos."""
        images, vector, view = self._renderings(rows, rng)
        photos = torch.zeros(0, 3, self.world.size_px, self.world.size_px)
        detector, has_detector = torch.zeros(0, 0, 2), torch.zeros(0, dtype=torch.bool)
        if len(photo_rows):
            photos, its_vector, its_view, detector, has_detector = self._photos(photo_rows, rng)
            vector, view = torch.cat([vector, its_vector]), torch.cat([view, its_view])
        images = torch.cat([images, photos])
        return Batch(
            wear(images, self.strength, rng=rng) if is_worn else images,
            vector,
            view,
            len(rows),
            photos,
            detector,
            has_detector,
        )

    def _renderings(self, rows: Rows, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        world, num = self.world, len(rows)
        seen = world.bank.rows(rows)
        coefficients = torch.from_numpy(draw_albedo(num, world.basis.num_albedo, world.table, rng=rng))
        sh = torch.from_numpy(draw_light(num, world.table, rng=rng))
        albedo = with_hair(self.skin.albedo(coefficients), self.skin, self.strength.hair, rng=rng)
        canvas = shade(seen.surface, albedo, self.skin.faces, sh)
        warp = Warp.draw(num, self.strength, mirror=0.0, rng=rng)
        picture = warp.pictures(canvas, world.size_px)
        images = over(picture, backgrounds(num, world.size_px, self._corners(rng), rng=rng))
        vector = torch.cat([seen.shape, coefficients, seen.expression, sh.flatten(1), seen.pose_rad], dim=1)
        return images, *warp.factors(vector, torch.zeros(num, 3), world.sizes, world.mirror)

    def _photos(self, rows: Rows, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        photos = self.world.photos
        assert photos is not None
        warp = Warp.draw(len(rows), self.strength, mirror=self.mirrored_share, rng=rng)
        images = warp.pictures(photos.canvas[rows].float() / 127.5 - 1.0, self.world.size_px)
        vector, view = warp.factors(photos.vector[rows], photos.view[rows], self.world.sizes, self.world.mirror)
        return images, vector, view, warp.points(photos.landmarks[rows]) + 0.5, ~warp.is_mirrored

    @property
    def mirrored_share(self) -> float:
        """Of photos; none where λ can't be mirrored."""
        return self.strength.mirror if self.world.basis.mirror.size else 0.0

    def _corners(self, rng: np.random.Generator) -> Tensor | None:
        photos = self.world.photos
        return None if photos is None or not len(self.taken) else photos.corners(rng.choice(self.taken, 8))


def held_out(world: World, num: int, *, strength: Augmentation = _MILD, chunk: int = 50) -> list[Batch]:
    """Batches of what no network learns from, the same ones every time: mildly moved, hardly worn."""
    batches = Batches(world, -1, strength, seed=7)
    rendered, photos = batches.rendered[:num], batches.taken[:num]
    starts = range(0, max(len(rendered), len(photos)), chunk)
    return [
        batches.of_rows(rendered[s : s + chunk], photos[s : s + chunk], np.random.default_rng([batches.seed, s]))
        for s in starts
    ]
