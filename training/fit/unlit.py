"""Light and albedo of many photos at once: each is fitted given the other, and the mean albedo keeps nothing of light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.factors.lighting import LAMBERT
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.lighting import sh_basis
from synthface.morphable.model import MorphableModel
from synthface.morphable.skin import plain_skin
from training.fit.light import LUMINANCE, Light, fit_light
from training.fit.surface import Surface

#: A vertex takes part if photos see it this well on average.
LEAST_WEIGHT = 0.12
#: Log error beyond which a vertex of a photo counts as hair, glasses or a hand: looser than for lighting, brows and beards
#: are wanted.
OCCLUDED = 0.45
#: Shade below which a vertex says nothing about its albedo.
_DARK = 0.25
#: Nothing is whiter than this; what looks so was lit more than the fit says, and keeps its hue.
_WHITEST = 0.95


def fit_lights(
    basis: MorphableBasis, surface: Surface, *, rounds: int = 3, report: Callable[[str], None] = lambda line: None
) -> tuple[Light, Tensor]:
    """Lights of all photos, and the mean albedo (V_f, 3) that goes with them: each is fitted given the other."""
    skin = torch.from_numpy(plain_skin(basis)[surface.vertices])
    normals = MorphableModel(basis).normals(torch.from_numpy(basis.mean_shape)[None])[0, surface.vertices]
    twin = twins(basis, surface.vertices)
    albedo = torch.from_numpy(basis.mean_albedo[surface.vertices])
    for number in range(rounds + 1):
        light = fit_light(surface.colour, surface.normals, surface.weight * skin, albedo)
        if number == rounds:
            break
        albedo = _mean_pattern(surface, light, albedo)
        albedo = (albedo * albedo[twin]).sqrt()
        albedo, share = without_light(albedo, normals, skin)
        report(f"light {number + 1}/{rounds}: {100 * share:.1f} % of the mean albedo's variance was light")
    return light, albedo


def without_light(albedo: Tensor, normals: Tensor, skin: Tensor) -> tuple[Tensor, float]:
    """The albedo (V, 3) without what SH of its normals (V, 3) explain of its logarithm on `skin` (V,), and their R²."""
    logs = (albedo @ LUMINANCE).log()
    basis = sh_basis(normals)
    solved = torch.linalg.lstsq(basis[skin], logs[skin, None]).solution
    explained = (basis @ solved)[:, 0]
    centred = logs[skin] - logs[skin].mean()
    share = 1 - (logs[skin] - explained[skin]).square().sum() / centred.square().sum()
    shaded = explained - explained[skin].mean()
    return albedo * (-shaded).exp()[:, None], float(share)


def albedo_of(surface: Surface, light: Light, rows: slice) -> tuple[Tensor, Tensor]:
    """Albedo (N, V_f, 3) of some photos, and how far it may be believed (N, V_f)."""
    basis = sh_basis(surface.normals[rows].float()) * torch.tensor(LAMBERT, dtype=torch.float32)
    shade = torch.einsum("nvk,nk->nv", basis, light.mono[rows])
    albedo = surface.colour[rows].float() / (shade.clamp_min(_DARK)[..., None] * light.tint[rows, None])
    albedo = albedo * (_WHITEST / albedo.amax(dim=-1, keepdim=True).clamp_min(_WHITEST))
    return albedo, surface.weight[rows].float() * (shade > _DARK)


def _mean_pattern(surface: Surface, light: Light, albedo: Tensor) -> Tensor:
    """The median over photos of the albedo relative to each photo's tone, at the median tone (V_f, 3)."""
    tone = light.tone.median(dim=0).values
    total, count = torch.zeros_like(albedo), torch.zeros(len(albedo))
    for start in range(0, len(surface), 250):
        rows = slice(start, start + 250)
        found, weight = albedo_of(surface, light, rows)
        logs = (found / light.tone[rows, None] * tone).clamp_min(0.005).log()
        away = (logs - albedo.log()).mean(-1)
        weight = weight * (1 + (away / OCCLUDED) ** 2) ** -1
        total += (weight[..., None] * logs).sum(0)
        count += weight.sum(0)
    seen = count / len(surface) > LEAST_WEIGHT
    return torch.where(seen[:, None], (total / count.clamp_min(1e-6)[:, None]).exp(), albedo)


def twins(basis: MorphableBasis, vertices: npt.NDArray[np.intp]) -> Tensor:
    """(V_f,) where each of the vertices has its mirror image among them."""
    place = np.full(basis.num_vertices, -1)
    place[vertices] = np.arange(len(vertices))
    twin = place[basis.mirror[vertices]]
    return torch.from_numpy(np.where(twin >= 0, twin, np.arange(len(vertices))))


def part_numbers(basis: MorphableBasis, names: tuple[str, ...]) -> list[int]:
    """The numbers of parts by name."""
    return [n for n, name in enumerate(basis.part_names) if name in names]
