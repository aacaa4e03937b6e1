"""The bank: renderings made beforehand, so that the renderer isn't in the training loop.

Rows 2k and 2k + 1 of `bank.safetensors` are a pair that differs in one factor. It holds, for M rows,

    vector      f32 (M, total)        λ, packed as `LambdaSizes` says
    kind        u8  (M,)              what the pair differs in: 1 expression, 2 lighting
    image       u8  (M, 3, r, r)      x̂ before black, at `image_px`
    mask        u8  (M, s²/8)         bits of the face region, at `mask_px`
    colour      f32 (M, 3)            mean colour of x̂ inside the mask, in [−1, 1]
    landmarks   f32 (M, 68, 2)        fractions of the size, origin at the top-left corner, y down
    descriptor  f32 (M, D)            raw f_id(x̂ · mask); D = 0 where no recognition network was given
    flow        f16 (F, f, f, 2)      v of Eq. 6 for the expression pairs, in order, at `flow_px`
    flow_row    i32 (M,)              row of `flow` for the first of an expression pair, else −1

The partner of row n is n xor 1. Metadata as the pack's, and `mask_px`, `image_px`, `flow_px`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.morphable.camera import clip_to_pixels
from synthface.morphable.model import MorphableModel
from synthface.morphable.rasterizer import Fragments
from synthface.morphable.render import Rendered, render
from synthface.networks.mapping import GROUPS, LambdaSizes
from training.gan.flow import flow_from_vertices
from training.gan.frozen import Recogniser
from training.gan.losses import mean_colour
from training.gan.mapped import MappedTensors, pack_bits, unpack_bits, write_mapped

FORMAT = "synthface-bank-1"
NAME = "bank.safetensors"
EXPRESSION, LIGHTING = 1, 2


@dataclass(frozen=True)
class BankRecipe:
    """How large a bank is and what it holds.

    Args:
        num_pairs: half differ in expression, half in lighting; every picture also serves alone.
        size_px: what is rendered, and the resolution of masks.
        image_px: at which x̂ is kept; ≥ the resolution up to which the pixel loss is used.
        flow_px: at which flows are kept.
        supersample: samples per pixel and axis.
        seed: of the choice of λ.
    """

    num_pairs: int = 10_000
    size_px: int = 128
    image_px: int = 32
    flow_px: int = 64
    supersample: int = 2
    seed: int = 0


@dataclass(frozen=True)
class BankRows:
    """Renderings as tensors; see the module's docstring. `mask` is (N, 1, s, s), `image` in [−1, 1]."""

    vector: Tensor
    image: Tensor
    mask: Tensor
    colour: Tensor
    landmarks: Tensor
    descriptor: Tensor

    def to(self, device: torch.device) -> BankRows:
        """The same on a device."""
        return BankRows(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


class Bank:
    """Renderings by row.

    Raises:
        DatasetError: the file isn't a whole bank.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = MappedTensors(path, FORMAT)
        meta = self._file.metadata
        self.sizes = LambdaSizes(**json.loads(meta["sizes"]))
        self.mask_px, self.image_px, self.flow_px = (int(meta[n]) for n in ("mask_px", "image_px", "flow_px"))
        self.vector = torch.from_numpy(np.array(self._file["vector"]))
        kind = np.array(self._file["kind"][::2])
        self.pairs = {k: torch.from_numpy(np.flatnonzero(kind == k) * 2) for k in (EXPRESSION, LIGHTING)}

    def __len__(self) -> int:
        return len(self.vector)

    @property
    def has_descriptors(self) -> bool:
        """Whether f_id(x̂) is stored."""
        return self._file["descriptor"].shape[1] > 0

    def rows(self, index: Tensor) -> BankRows:
        """Rows by number (N,)."""
        n = index.numpy()
        file = self._file
        return BankRows(
            vector=self.vector[index],
            image=torch.from_numpy(file["image"][n]).float() / 127.5 - 1.0,
            mask=torch.from_numpy(unpack_bits(file["mask"][n], self.mask_px)),
            colour=torch.from_numpy(file["colour"][n]),
            landmarks=torch.from_numpy(file["landmarks"][n]),
            descriptor=torch.from_numpy(file["descriptor"][n]),
        )

    def flow(self, first: Tensor) -> Tensor:
        """v (N, f, f, 2) of expression pairs, by the number of their first row."""
        return torch.from_numpy(self._file["flow"][self._file["flow_row"][first.numpy()]].astype(np.float32))


def draw_pairs(table: Tensor, sizes: LambdaSizes, num_pairs: int, *, seed: int) -> tuple[Tensor, npt.NDArray[np.uint8]]:
    """λ (2·pairs, total) and kinds (2·pairs,): each factor is a row of the table drawn by itself.

    The second of a pair is the first with one factor drawn anew: expression for the first half, lighting for the rest.
    """
    generator = torch.Generator().manual_seed(seed)
    first = shuffled_factors(table, sizes, num_pairs, generator=generator)
    second, other = first.clone(), shuffled_factors(table, sizes, num_pairs, generator=generator)
    half = num_pairs // 2
    for rows, group in ((slice(0, half), "expression"), (slice(half, None), "lighting")):
        columns = sizes.columns(group)
        second[rows, columns] = other[rows, columns]
    kind = np.where(np.arange(num_pairs) < half, EXPRESSION, LIGHTING).astype(np.uint8)
    return torch.stack([first, second], dim=1).flatten(0, 1), np.repeat(kind, 2)


def shuffled_factors(table: Tensor, sizes: LambdaSizes, num: int, *, generator: torch.Generator) -> Tensor:
    """λ (num, total) whose four factors come from rows of the table (M, total) drawn independently."""
    vector = torch.empty(num, table.shape[1])
    for group in GROUPS:
        columns = sizes.columns(group)
        vector[:, columns] = table[torch.randint(len(table), (num,), generator=generator)][:, columns]
    return vector


@torch.no_grad()
def build_bank(
    path: Path,
    model: MorphableModel,
    table: Tensor,
    sizes: LambdaSizes,
    recipe: BankRecipe,
    *,
    recogniser: Recogniser | None = None,
    report: Callable[[str], None] = lambda line: None,
    chunk_pairs: int = 16,
) -> None:
    """Render a bank from a λ table (M, total)."""
    vector, kind = draw_pairs(table, sizes, recipe.num_pairs, seed=recipe.seed)
    face_mask = torch.as_tensor(np.append(model.basis.face_mask, False), device=model.faces.device)
    pieces: dict[str, list[npt.NDArray[Any]]] = {}
    for start in range(0, len(vector), 2 * chunk_pairs):
        rows = vector[start : start + 2 * chunk_pairs].to(model.faces.device)
        rendered = render(model, sizes.unpack(rows), recipe.size_px, supersample=recipe.supersample)
        made = _rows_of(rendered, model.landmarks68, face_mask, recipe, recogniser)
        is_expression = kind[start : start + len(rows) : 2] == EXPRESSION
        made["flow"] = _flows(rendered, model.faces, recipe)[is_expression]
        for name, values in made.items():
            pieces.setdefault(name, []).append(values)
        report(f"bank: {start + len(rows)}/{len(vector)}")
    arrays = {name: np.concatenate(parts) for name, parts in pieces.items()}
    flow_row = np.full(len(vector), -1, np.int32)
    firsts = np.flatnonzero(kind[::2] == EXPRESSION) * 2
    flow_row[firsts] = np.arange(len(firsts))
    metadata = {
        "format": FORMAT,
        "sizes": json.dumps(asdict(sizes)),
        "expression_names": json.dumps(model.basis.expression_names),
        "morphable_model": model.basis.name,
        "mask_px": str(recipe.size_px),
        "image_px": str(recipe.image_px),
        "flow_px": str(recipe.flow_px),
    }
    write_mapped(path, {**arrays, "vector": vector.numpy(), "kind": kind, "flow_row": flow_row}, metadata)


def _rows_of(
    rendered: Rendered, landmarks68: Tensor, face_mask: Tensor, recipe: BankRecipe, recogniser: Recogniser | None
) -> dict[str, npt.NDArray[Any]]:
    seen = face_mask[rendered.fragments.face_idx][:, None].float()
    mask = (F.avg_pool2d(seen, recipe.supersample) > 0.5).float() if recipe.supersample > 1 else seen
    image = rendered.image
    landmarks = clip_to_pixels(rendered.clip[:, landmarks68], 1)
    descriptor = torch.zeros(len(image), 0) if recogniser is None else recogniser(image * mask, landmarks)
    small = F.adaptive_avg_pool2d(image, recipe.image_px)
    return {
        "image": ((small + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy(),
        "mask": pack_bits(mask[:, 0].bool().cpu().numpy()),
        "colour": mean_colour(image, mask).cpu().numpy(),
        "landmarks": landmarks.cpu().numpy(),
        "descriptor": descriptor.cpu().numpy().astype(np.float32),
    }


def _flows(rendered: Rendered, faces: Tensor, recipe: BankRecipe) -> npt.NDArray[np.float16]:
    """v (pairs, f, f, 2) of every pair."""
    first, second = slice(0, None, 2), slice(1, None, 2)
    fragments = Fragments(*(part[second] for part in rendered.fragments))
    flow = flow_from_vertices(rendered.clip[first], rendered.clip[second], fragments, faces)
    small = F.adaptive_avg_pool2d(flow.permute(0, 3, 1, 2), recipe.flow_px).permute(0, 2, 3, 1)
    return small.cpu().numpy().astype(np.float16)
