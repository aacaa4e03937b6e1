"""From pictures to weighted loss terms: masks, frozen networks and the losses of `losses`, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.networks.mapping import LambdaSizes
from training.gan import losses
from training.gan.augment import Robustification, robustify
from training.gan.bank import BankRows
from training.gan.flow import resize_flow, resize_mask, valid_pixels
from training.gan.frozen import Frozen, Reconstructed
from training.gan.recipe import Contrastive, Imitative, Reconstruction

Terms = Mapping[str, tuple[float, Tensor]]


def total(terms: Terms) -> Tensor:
    """Σ weight · term."""
    return torch.stack([weight * term for weight, term in terms.values()]).sum() if terms else torch.zeros(())


@dataclass(frozen=True)
class Objectives:
    """The losses with everything fixed but the pictures.

    Args:
        frozen: the networks that the losses look through.
        sizes: of λ.
        robustification: how pictures are disturbed before them; None not at all.
        imitate_from_px: below this resolution the pixel loss stands in for Eqs. 2–5.
    """

    frozen: Frozen
    sizes: LambdaSizes
    robustification: Robustification | None
    imitate_from_px: int

    def imitative(self, x: Tensor, rows: BankRows, weights: Imitative, *, generator: torch.Generator) -> Terms:
        """Eqs. 2–5 of pictures (N, 3, H, W) against their renderings, or the pixel loss at low resolution."""
        mask = resize_mask(rows.mask, x.shape[-1])
        terms: dict[str, tuple[float, Tensor]] = {}
        if x.shape[-1] < self.imitate_from_px:
            if weights.pixel:
                image = F.adaptive_avg_pool2d(rows.image, x.shape[-1])
                terms["pixel"] = (weights.pixel, losses.pixel_loss(x, image, mask))
            return terms
        if weights.pixel and weights.pixel_px:
            inner = mask
            if weights.pixel_region == "inner":
                inner = mask * inner_face(rows.landmarks, x.shape[-1])
            small = [F.adaptive_avg_pool2d(part, weights.pixel_px) for part in (x, rows.image, inner)]
            terms["pixel"] = (weights.pixel, losses.pixel_loss(small[0], small[1], (small[2] > 0.75).to(x)))
        if weights.identity:
            n = _share(len(x), weights.identity_share)
            described = self._describe((x * mask)[:n], rows.landmarks[:n], generator)
            cosine = losses.centred_cosine(described, rows.descriptor[:n], self._recogniser_mean())
            loss = losses.identity_loss(cosine, margin=weights.identity_margin)
            terms["identity"] = (weights.identity, loss)
        if weights.landmarks or weights.lighting:
            n = _share(len(x), weights.reading_share)
            read = self._reconstruct(x[:n], generator)
            if weights.landmarks:
                terms["landmarks"] = (weights.landmarks, losses.landmark_loss(read.landmarks, rows.landmarks[:n]))
            if weights.lighting:
                sh = self.sizes.parts["sh"]
                terms["lighting"] = (weights.lighting, losses.lighting_loss(read.vector[:, sh], rows.vector[:n, sh]))
        if weights.colour:
            terms["colour"] = (weights.colour, losses.colour_loss(losses.mean_colour(x, mask), rows.colour))
        return terms

    def expression_pair(self, x: Tensor, x_other: Tensor, first: BankRows, second: BankRows, flow: Tensor) -> Tensor:
        """Eq. 6 of pairs that differ in expression only."""
        size = x.shape[-1]
        valid = valid_pixels(resize_mask(first.mask, size), resize_mask(second.mask, size))
        return losses.expression_loss(x, x_other, resize_flow(flow, size), valid)

    def lighting_pair(
        self, x: Tensor, x_other: Tensor, rows: BankRows, weights: Contrastive, *, generator: torch.Generator
    ) -> Terms:
        """Eqs. 7 and 8 of pairs that differ in lighting only."""
        terms: dict[str, tuple[float, Tensor]] = {}
        if weights.structure:
            assert self.frozen.parser is not None
            read, read_other = self._reconstruct(x, generator), self._reconstruct(x_other, generator)
            structure = losses.structure_loss(
                self.frozen.parser(x),
                self.frozen.parser(x_other),
                read.landmarks,
                read_other.landmarks,
                omega=weights.omega,
            )
            terms["structure"] = (weights.structure, structure)
        if weights.identity:
            described = (self._describe(picture, rows.landmarks, generator) for picture in (x, x_other))
            cosine = losses.centred_cosine(*described, self._recogniser_mean())
            terms["same_identity"] = (weights.identity, losses.same_identity_loss(cosine))
        return terms

    def reconstruction(
        self,
        x: Tensor,
        photo: Tensor,
        mask: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        weights: Reconstruction,
        *,
        photo_maps: Sequence[Tensor] | None = None,
    ) -> tuple[Terms, Sequence[Tensor]]:
        """Pictures (N, 3, H, W) against the photos they were made from, inside a mask; and the code's KL.

        Also returns the frozen network's maps of the masked pictures, where it looked; `photo_maps` spares looking at the
        masked photos.
        """
        terms: dict[str, tuple[float, Tensor]] = {}
        seen: Sequence[Tensor] = ()
        if weights.l1:
            terms["l1"] = (weights.l1, ((x - photo).abs() * mask).sum() / (3 * mask.sum()).clamp_min(1.0))
        if weights.features:
            assert self.frozen.features is not None
            if photo_maps is None:
                with torch.no_grad():
                    photo_maps = self.frozen.features(photo * mask)
            seen = self.frozen.features(x * mask)
            distances = [relative_distance(a, b) for a, b in zip(seen, photo_maps, strict=True)]
            terms["features"] = (weights.features, torch.stack(distances).mean())
        if weights.kl:
            kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).mean()
            terms["kl"] = (weights.kl, kl)
        return terms, seen

    def _describe(self, x: Tensor, landmarks: Tensor, generator: torch.Generator) -> Tensor:
        assert self.frozen.recognition is not None
        if self.robustification is not None:
            disturbed = robustify(x, self.robustification, generator=generator)
            x, landmarks = disturbed.images, landmarks + disturbed.shift
        return self.frozen.recognition(x, landmarks)

    def _reconstruct(self, x: Tensor, generator: torch.Generator) -> Reconstructed:
        """Read disturbed pictures; landmarks are given where they were before the shift. Colour is left alone."""
        assert self.frozen.reconstruction is not None
        if self.robustification is None:
            return self.frozen.reconstruction(x)
        disturbed = robustify(x, self.robustification, generator=generator, keep_colour=True)
        read = self.frozen.reconstruction(disturbed.images)
        return read._replace(landmarks=read.landmarks - disturbed.shift)

    def _recogniser_mean(self) -> Tensor:
        assert self.frozen.recognition is not None
        return self.frozen.recognition.mean


def inner_face(landmarks: Tensor, size_px: int, *, reach: float = 0.9, forehead: float = 0.3) -> Tensor:
    """Where hardly any hair hangs into faces: (N, 1, S, S), 1 from a little inside the jaw up to the middle of the forehead.

    Args:
        landmarks: (N, 68, 2) fractions of the size.
        size_px: S.
        reach: how far from the nose towards the jaw, and sideways towards the brows' ends.
        forehead: how far above the brows, in distances from the nose to the brows.
    """
    nose = landmarks[:, 30:31]
    jaw = nose + reach * (landmarks[:, :17] - nose)
    brows = landmarks[:, 17:27].flip(1) - nose
    brows = nose + reach * brows + forehead * brows.mean(dim=1, keepdim=True)
    corners = torch.cat([jaw, brows], dim=1)[:, :, None, None]  # (N, 27, 1, 1, 2)
    after = corners.roll(-1, dims=1)
    centres = (torch.arange(size_px, device=landmarks.device, dtype=landmarks.dtype) + 0.5) / size_px
    x, y = centres[None, None, None, :], centres[None, None, :, None]
    # A point lies inside if a ray from it to the right crosses the outline an odd number of times.
    is_level = (corners[..., 1] > y) != (after[..., 1] > y)
    height = after[..., 1] - corners[..., 1]
    slope = (after[..., 0] - corners[..., 0]) / torch.where(height == 0, torch.ones_like(height), height)
    is_crossed = is_level & (x < corners[..., 0] + (y - corners[..., 1]) * slope)
    return (is_crossed.sum(dim=1, keepdim=True) % 2).to(landmarks)


def _share(num: int, share: float) -> int:
    """How many of a batch; at least one."""
    return max(1, round(num * share))


def relative_distance(features: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of ‖f − t‖ / ‖t‖."""
    difference = torch.linalg.vector_norm((features - target).flatten(1), dim=1)
    return (difference / torch.linalg.vector_norm(target.flatten(1), dim=1).clamp_min(1e-6)).mean()
