"""What a run trains on: a folder with `pack.safetensors`, mostly `bank.safetensors`, and `priors/` for a G that takes z."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from synthface.errors import DatasetError
from synthface.networks.mapping import LambdaSizes
from synthface.networks.vae import FactorVae
from training.gan import bank, pack
from training.gan.bank import Bank, shuffled_factors
from training.gan.pack import Pack
from training.gan.recipe import GanRecipe, Stage

#: Of how many pictures the most turned is taken where wide poses are sought.
WIDEST_OF = 8


@dataclass(frozen=True)
class GanData:
    """Everything read from the data folder.

    Args:
        folder: the folder.
        pack: the photos.
        bank: the renderings; None where the recipe needs none and the folder has none.
        vaes: factor to λ-VAE, for a G that takes z.
    """

    folder: Path
    pack: Pack
    bank: Bank | None
    vaes: Mapping[str, FactorVae]

    @property
    def sizes(self) -> LambdaSizes:
        """The lengths of λ's parts."""
        return self.pack.sizes

    def vectors(self) -> Tensor:
        """The λ that random pictures are made from (M, total)."""
        return self.bank.vector if self.bank is not None else self.pack.vector

    def random_vectors(self, num: int, *, generator: torch.Generator) -> Tensor:
        """λ (num, total) drawn as training draws them: whole rows of the bank, or factors of photos shuffled."""
        if self.bank is not None:
            return self.bank.vector[torch.randint(len(self.bank), (num,), generator=generator)]
        return shuffled_factors(self.pack.vector, self.sizes, num, generator=generator)


def draw_rows(vector: Tensor, sizes: LambdaSizes, num: int, wide_share: float, *, generator: torch.Generator) -> Tensor:
    """Numbers (num,) of rows of λ (M, total), the first `wide_share` of them the most turned of `WIDEST_OF` each."""
    rows = torch.randint(len(vector), (num,), generator=generator)
    num_wide = round(num * wide_share)
    if num_wide:
        candidates = torch.randint(len(vector), (num_wide, WIDEST_OF), generator=generator)
        yaw = vector[candidates, sizes.parts["pose_rad"].start + 1].abs()
        rows[:num_wide] = candidates.gather(1, yaw.argmax(dim=1, keepdim=True))[:, 0]
    return rows


def load_data(folder: Path, recipe: GanRecipe) -> GanData:
    """Read a data folder and check that it has what the recipe needs.

    Raises:
        DatasetError: something is missing, damaged, or doesn't fit.
    """
    photos = Pack(folder / pack.NAME, trusts_filled=recipe.trusts_filled)
    size_px = recipe.network.size_px
    if photos.size_px != size_px:
        raise DatasetError(
            f"{photos.path}: photos are {photos.size_px} px, the recipe's network makes {size_px} px; make a pack of that size"
        )
    renderings = Bank(folder / bank.NAME) if (folder / bank.NAME).exists() else None
    needs_bank = [stage.name for stage in recipe.stages if _needs_bank(stage)]
    if needs_bank and renderings is None:
        raise DatasetError(
            f"{folder}: no {bank.NAME}, which stage {needs_bank[0]} needs; `python -m training bank` makes it"
        )
    if renderings is not None and renderings.sizes != photos.sizes:
        raise DatasetError(
            f"{folder}: λ of {bank.NAME} is {renderings.sizes}, of {pack.NAME} {photos.sizes}; make both anew"
        )
    if renderings is not None and "recognition" in recipe.needs() and not renderings.has_descriptors:
        raise DatasetError(
            f"{folder / bank.NAME}: it holds no descriptors, which Eq. 2 needs; build it with --descriptors"
        )
    vaes: dict[str, FactorVae] = {}
    if recipe.network.inputs == "z":
        from training.vae.export import load_vaes

        vaes = load_vaes(folder / "priors")
    return GanData(folder, photos, renderings, vaes)


def _needs_bank(stage: Stage) -> bool:
    has_renderings = stage.reconstruction is not None and stage.reconstruction.renderings > 0
    return stage.imitative.is_on or stage.is_contrastive or has_renderings
