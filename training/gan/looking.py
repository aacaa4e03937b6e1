"""What a discriminator judges pictures by: the pictures, or the maps of the frozen network that it looks through.

Going through the frozen network is most of such a discriminator's cost. So it is done once for both steps, of D and of G,
and for the photos of the pack, which never change, once in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.gan.frozen import Features
from training.gan.pack import Pack
from training.gan.projected import ProjectedDiscriminator

#: Photos' maps are kept, in half precision, where they fit in this.
KEPT_BYTES = 4 * 2**30

#: A picture (N, 3, H, W) by itself, or maps of it.
Seen = Sequence[Tensor]


def look(discriminator: nn.Module, pictures: Tensor) -> Seen:
    """What D judges of pictures (N, 3, H, W); gradients pass through."""
    return discriminator.look(pictures) if isinstance(discriminator, ProjectedDiscriminator) else [pictures]


def judge(discriminator: nn.Module, seen: Seen, *, level: float | None) -> Tensor:
    """Logits, > 0 for real."""
    if isinstance(discriminator, ProjectedDiscriminator):
        return discriminator.judge(seen)
    logits: Tensor = discriminator(seen[0], level=level)
    return logits


def detached(seen: Seen) -> Seen:
    """The same without a gradient."""
    return [part.detach() for part in seen]


def split(seen: Seen, sizes: Sequence[int]) -> Sequence[Seen]:
    """What was seen, in groups of these sizes."""
    return [list(group) for group in zip(*(part.split(list(sizes)) for part in seen), strict=True)]


@dataclass(frozen=True)
class Remade:
    """Photos made anew, beside the photos, as a frozen network saw both: masked where the photo isn't valid.

    Args:
        seen: maps of the pictures made, with their gradient.
        photo: maps of the photos.
    """

    seen: Seen
    photo: Seen


class PhotoMaps:
    """Maps of a pack's photos, blank where they aren't valid; looked at once, then kept.

    Args:
        features: the frozen network.
        pack: the photos.
        device: where the network is.
    """

    def __init__(self, features: Features, pack: Pack, device: torch.device) -> None:
        self._features, self._pack, self._device = features, pack, device
        self._kept: list[Tensor] | None = None
        self._is_kept = torch.zeros(len(pack), dtype=torch.bool)
        self._fits = True

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Seen:
        """Maps of the photos with these numbers (N,)."""
        missing = rows[~self._is_kept[rows]]
        if not self._fits or (len(missing) and self._kept is None):
            maps = self._look(rows)
            self._keep(rows, maps)
            return maps
        if len(missing):
            self._keep(missing, self._look(missing))
        assert self._kept is not None
        return [
            part[rows].to(self._device).float().contiguous(memory_format=torch.channels_last) for part in self._kept
        ]

    def _look(self, rows: Tensor) -> Seen:
        photos, valid = self._pack.images(rows), self._pack.valid(rows)
        masked = photos if valid is None else photos * valid
        # Rounded at once: a photo must look the same whether or not it was kept, or a resumed run would differ.
        return [part.half().float() for part in self._features(masked.to(self._device))]

    def _keep(self, rows: Tensor, maps: Seen) -> None:
        if self._kept is None and self._fits:
            self._fits = 2 * len(self._pack) * sum(part[0].numel() for part in maps) <= KEPT_BYTES
            shapes = [(len(self._pack), *part.shape[1:]) for part in maps]
            self._kept = [torch.empty(shape, dtype=torch.float16) for shape in shapes] if self._fits else None
        if self._kept is not None:
            for kept, part in zip(self._kept, maps, strict=True):
                kept[rows] = part.to("cpu", torch.float16)
            self._is_kept[rows] = True
