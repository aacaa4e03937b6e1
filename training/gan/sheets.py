"""Sample sheets: random pictures, each factor swept, identities held while the rest varies. Pillow only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from synthface.factors import lighting
from training.gan.trainer import Trainer

_GAP, _LEFT, _TOP = 2, 120, 8
_PAPER, _INK = (250, 250, 248), (40, 40, 40)
NUM_STEPS = 7
#: What a sweep row varies: title, and the values at its ends.
_POSES = {"yaw ±30°": (1, 30.0), "pitch ±20°": (0, 20.0), "roll ±15°": (2, 15.0)}
_ACTIONS = {
    "jaw open 0 to 1": ("jaw_open",),
    "smile 0 to 1": ("mouth_smile_left", "mouth_smile_right"),
    "blink 0 to 1": ("eye_blink_left", "eye_blink_right"),
    "brows up 0 to 1": ("brow_inner_up", "brow_outer_up_left", "brow_outer_up_right"),
}


def write_sheets(trainer: Trainer, folder: Path) -> None:
    """All sheets of the present state, by the averaged generator; the same λ and ε every time."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{trainer.progress.num_images:010d}"
    rng = torch.Generator().manual_seed(trainer.recipe.seed + 1)
    for name, (vector, noise, labels) in {
        "random": random_inputs(trainer, rng),
        "sweeps": sweep_inputs(trainer, rng),
        "identities": identity_inputs(trainer, rng),
    }.items():
        pictures = generate(trainer, vector, noise)
        grid_sheet(pictures, len(vector) // len(labels), labels).save(folder / f"{stem}-{name}.jpg", quality=92)


@torch.no_grad()
def generate(trainer: Trainer, vector: Tensor, noise: Tensor) -> Tensor:
    """Pictures (N, H, W, 3) uint8 of λ (N, total) and ε (N, E); every picture has the same noise maps."""
    rng = torch.Generator().manual_seed(trainer.recipe.seed)
    resolutions = [r for r in trainer.average.config.synthesis.noise_resolutions if r <= trainer.resolution]
    maps = [torch.randn(1, 1, r, r, generator=rng).to(trainer.world.device) for r in resolutions]
    pictures = []
    for lam, eps in zip(torch.split(vector, 16), torch.split(noise, 16), strict=True):
        lam, eps = lam.to(trainer.world.device), eps.to(trainer.world.device)
        same = [m.expand(len(lam), -1, -1, -1) for m in maps]
        pictures.append(trainer.average(lam, eps, same, level=trainer.level).cpu())
    pixels = ((torch.cat(pictures).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1)


Inputs = tuple[Tensor, Tensor, Sequence[str]]


def random_inputs(trainer: Trainer, rng: torch.Generator) -> Inputs:
    """48 random pictures in six rows."""
    vector = trainer.data.random_vectors(48, generator=rng)
    return vector, _noise(trainer, 48, rng), [""] * 6


def identity_inputs(trainer: Trainer, rng: torch.Generator) -> Inputs:
    """Six identities with their ε, each under eight draws of the other factors, the same for all."""
    people, contexts = (trainer.data.random_vectors(n, generator=rng) for n in (6, 8))
    columns = trainer.data.sizes.columns("identity")
    vector = contexts.repeat(6, 1)
    vector[:, columns] = people[:, columns].repeat_interleave(8, dim=0)
    return vector, _noise(trainer, 6, rng).repeat_interleave(8, dim=0), [f"identity {n + 1}" for n in range(6)]


def sweep_inputs(trainer: Trainer, rng: torch.Generator) -> Inputs:
    """One face per row, one factor from end to end; the face is neutral in the rest."""
    sizes, names = trainer.data.sizes, trainer.data.pack.expression_names
    start = {name: place.start for name, place in sizes.parts.items()}
    ramp = torch.linspace(-1, 1, NUM_STEPS)
    rows: dict[str, Tensor] = {}

    def row() -> Tensor:
        vector = trainer.data.random_vectors(1, generator=rng)
        return trainer.average.neutralised(vector.to(trainer.world.device)).cpu().repeat(NUM_STEPS, 1)

    for title, (axis, end_deg) in _POSES.items():
        rows[title] = row()
        rows[title][:, start["pose_rad"] + axis] = torch.deg2rad(ramp * end_deg)
    rows["light ±70°"] = row()
    azimuth = ramp.double().numpy() * 70
    sh = lighting.ambient(np.full(NUM_STEPS, 0.35)) + lighting.directional(
        azimuth, 0 * azimuth + 15, np.full(NUM_STEPS, 0.8)
    )
    rows["light ±70°"][:, sizes.parts["sh"]] = torch.from_numpy(sh.reshape(NUM_STEPS, 27)).float()
    for title, actions in _ACTIONS.items():
        known = [names.index(action) for action in actions if action in names]
        if known:
            rows[title] = row()
            rows[title][:, [start["expression"] + k for k in known]] = (ramp[:, None] + 1) / 2
    for title, name in (("shape 1 ±2 sd", "shape"), ("albedo 1 ±2 sd", "albedo")):
        rows[title] = row()
        rows[title][:, start[name]] = 2 * ramp
    noise = _noise(trainer, len(rows), rng).repeat_interleave(NUM_STEPS, dim=0)
    rows["noise"] = row()
    ends = _noise(trainer, 2, rng)
    noise = torch.cat([noise, torch.lerp(ends[:1], ends[1:], (ramp[:, None] + 1) / 2)])
    return torch.cat(list(rows.values())), noise, list(rows)


def grid_sheet(pictures: Tensor, num_columns: int, labels: Sequence[str]) -> Image.Image:
    """Pictures (N, H, W, 3) in rows of `num_columns`, a label beside each row."""
    size = pictures.shape[1]
    cell = max(size, 64)
    left = _LEFT if any(labels) else _GAP
    sheet = Image.new("RGB", (left + num_columns * (cell + _GAP), _TOP + len(labels) * (cell + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for n, picture in enumerate(pictures.numpy()):
        x, y = left + (n % num_columns) * (cell + _GAP), _TOP + (n // num_columns) * (cell + _GAP)
        image = Image.fromarray(picture)
        sheet.paste(image if size == cell else image.resize((cell, cell), Image.Resampling.NEAREST), (x, y))
    for n, label in enumerate(labels):
        draw.text((left - 6, _TOP + n * (cell + _GAP) + cell / 2), label, fill=_INK, font=font, anchor="rm")
    return sheet


def _noise(trainer: Trainer, num: int, rng: torch.Generator) -> Tensor:
    return torch.randn(num, trainer.recipe.network.num_noise, generator=rng)
