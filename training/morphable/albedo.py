"""The albedo learned from photos: unwrap, divide out the light, fill what isn't seen by symmetry, leave hair out, PCA.

The first three components are the colour of the skin as a whole (what the reference skin's mean RGB can do); all others
leave that mean alone. So those three can set the skin tone exactly, whatever the rest of the face looks like; far from the
photos' tones the rest has to follow, which `synthface.morphable.tone` sees to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.factors.types import AttributeAxis
from synthface.morphable.basis import MorphableBasis
from synthface.morphable.model import MorphableModel
from synthface.morphable.skin import individual_typology_angle, plain_skin, reference_skin
from training.fit.light import Light
from training.fit.surface import Surface
from training.fit.unlit import LEAST_WEIGHT, OCCLUDED, albedo_of, part_numbers, twins, without_light
from training.morphable.paint import COMPONENTS, DARKEST, LIGHTEST

F64 = npt.NDArray[np.float64]

#: The components that set the skin's mean colour.
NUM_TONE = 3
#: Painted components that photos of faces say little about, kept as the last ones.
KEPT = ("iris colour", "scalp hair")
_ROUNDS_OF_FILLING = 6
#: What an albedo looked up in a photo may be off by, linear RGB, over the root of how many neighbours err alike.
_ALBEDO_NOISE = 0.1


@dataclass(frozen=True)
class AlbedoReport:
    """What was measured.

    Args:
        light_in_mean: R² of the mean log-albedo regressed on the SH of the normals, over plain skin.
        explained: share of the filled albedo's variance that the components keep.
        ita_deg: 5th, 50th and 95th percentile of the photos' ITA°.
    """

    light_in_mean: float
    explained: float
    ita_deg: tuple[float, float, float]


def learn_albedo(
    basis: MorphableBasis,
    surface: Surface,
    light: Light,
    mean: Tensor,
    *,
    num_albedo: int = 80,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[MorphableBasis, AlbedoReport]:
    """The basis with mean albedo and components learned from photos.

    Args:
        basis: a model with painted albedo; its colours stay on eyes, mouth, scalp, ears and neck.
        surface: the photos on its face.
        light: their lights.
        mean: (V_f, 3) what `fit_lights` found.
        num_albedo: Kt.
        report: told each step.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the low-rank decompositions start at random
        return _learn(basis, surface, light, mean, num_albedo, report)


def _learn(
    basis: MorphableBasis, surface: Surface, light: Light, mean: Tensor, num_albedo: int, report: Callable[[str], None]
) -> tuple[MorphableBasis, AlbedoReport]:
    vertices = surface.vertices
    reference = torch.from_numpy(reference_skin(basis)[vertices])
    albedo, trusted = _filled(basis, surface, light, mean, report)
    average = albedo.mean(dim=0)
    twin = twins(basis, vertices)
    average = (average + average[twin]) / 2
    normals = MorphableModel(basis).normals(torch.from_numpy(basis.mean_shape)[None])[0, vertices]
    skin = torch.from_numpy(plain_skin(basis)[vertices])
    # Unseen edges were filled in with shaded neighbours: what light could explain comes out once more.
    average, _ = without_light(average, normals, skin)
    tones = albedo[:, reference].mean(dim=1)
    ita = individual_typology_angle(tones.double().numpy())
    step, patterns = _tone_components(albedo - average, tones)
    rest = albedo - average - torch.einsum("nk,kvc->nvc", (tones - tones.mean(0)) @ torch.linalg.inv(step).T, patterns)
    num_free = num_albedo - NUM_TONE - len(KEPT)
    components, explained = _principal(rest, twin, num_free)
    report(f"{num_free} components keep {100 * explained:.1f} % of the variance beyond skin tone")
    painted_tone = _painted_tone(basis)
    whole_mean, whole = _whole_head(
        basis, vertices, trusted, average, tones.mean(0), patterns, step, components, painted_tone
    )
    kept = np.stack([basis.albedo_basis[COMPONENTS.index(name)] for name in KEPT])
    axis = _tone_axis(tones.double().numpy(), step.double().numpy())
    _, share = without_light(torch.from_numpy(whole_mean[vertices]).float(), normals, skin)
    figures = AlbedoReport(share, explained, tuple(float(v) for v in np.percentile(ita, [5, 50, 95])))  # type: ignore[arg-type]
    return (
        replace(
            basis,
            mean_albedo=whole_mean.astype(np.float32),
            albedo_basis=np.concatenate([whole, kept]).astype(np.float32),
            attributes={**basis.attributes, "skin_tone_ita_deg": axis},
        ),
        figures,
    )


def fit_albedo(
    basis: MorphableBasis, vertices: npt.NDArray[np.intp], albedo: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """α_t (N, Kt) of albedos (N, V_f, 3) believed by weights (N, V_f), and their weighted RMS error (N,), linear RGB.

    Ridge regression: coefficients are standard deviations, so the prior is N(0, I).
    """
    components = torch.from_numpy(basis.albedo_basis[:, vertices])  # (Kt, V_f, 3)
    offset = albedo - torch.from_numpy(basis.mean_albedo[vertices])
    # Hair, hands and glasses: away from what the photo's own tone leads one to expect.
    level = (offset * weight[..., None]).sum(1, keepdim=True) / weight.sum(1)[:, None, None].clamp_min(1e-6)
    away = (offset - level).mean(-1)
    weight = weight / (1 + (away / 0.15) ** 2)
    flat = components.flatten(1)  # (Kt, 3 V_f)
    precision = weight.repeat_interleave(3, dim=1) / _ALBEDO_NOISE**2
    right = (precision * offset.flatten(1)) @ flat.T
    # Each photo has weights of its own, so a matrix of its own.
    matrix = torch.stack([(flat * row) @ flat.T for row in precision]) + torch.eye(len(flat))
    alpha = torch.linalg.solve(matrix, right)
    left = offset - torch.einsum("nk,kvc->nvc", alpha, components)
    error = ((left.square().mean(-1) * weight).sum(1) / weight.sum(1).clamp_min(1e-6)).sqrt()
    return alpha, error


def _filled(
    basis: MorphableBasis, surface: Surface, light: Light, mean: Tensor, report: Callable[[str], None]
) -> tuple[Tensor, Tensor]:
    """Albedo of all photos (N, V_f, 3) with hair and unseen parts filled in, and the vertices that photos see (V_f,)."""
    twin = twins(basis, surface.vertices)
    parts, weights = [], []
    for start in range(0, len(surface), 250):
        rows = slice(start, start + 250)
        found, weight = albedo_of(surface, light, rows)
        expected = mean * light.tone[rows, None]
        away = (found.clamp_min(0.005) / expected).log().mean(-1)
        weight = weight * (away.abs() < 2 * OCCLUDED)
        # Where one side of the face is seen better, the other takes its colour.
        better = (weight[:, twin] > 2 * weight)[..., None]
        found, weight = torch.where(better, found[:, twin], found), torch.maximum(weight, 0.5 * weight[:, twin])
        parts.append(torch.where((weight > 0.1)[..., None], found, expected).clamp(0.0, 1.0))
        weights.append(weight)
    albedo, weight = torch.cat(parts), torch.cat(weights)
    belief = (weight / 0.5).clamp(0, 1)[..., None]
    observed = albedo.clone()
    for number in range(_ROUNDS_OF_FILLING):
        centre = albedo.mean(dim=0)
        flat = (albedo - centre).flatten(1)
        _, _, axes = torch.svd_lowrank(flat, q=40, niter=2)
        guess = ((flat @ axes) @ axes.T).reshape(albedo.shape) + centre
        albedo = torch.lerp(guess, observed, belief).clamp(0.0, 1.0)
        report(f"filling {number + 1}/{_ROUNDS_OF_FILLING}")
    return albedo, weight.mean(dim=0) > LEAST_WEIGHT


def _tone_components(centred: Tensor, tones: Tensor) -> tuple[Tensor, Tensor]:
    """How the mean colour varies: steps (3, 3), a column per component of one standard deviation; and what the whole face
    does along (3, V_f, 3).
    """
    offset = tones - tones.mean(0)
    cross = torch.einsum("nk,nvc->kvc", offset, centred) / len(offset)
    covariance = offset.T @ offset / len(offset)
    values, vectors = torch.linalg.eigh(covariance)
    order = values.argsort(descending=True)
    step = vectors[:, order] * values[order].clamp_min(1e-10).sqrt()
    step = step * torch.where(step.sum(0) < 0, -1.0, 1.0)  # component 0 goes from dark to light
    by_channel = torch.einsum("kj,jvc->kvc", torch.linalg.inv(covariance), cross)
    return step, torch.einsum("jk,jvc->kvc", step, by_channel)


def _principal(rest: Tensor, twin: Tensor, count: int) -> tuple[Tensor, float]:
    """Components (count, V_f, 3) of one standard deviation each, of the data and its mirror image together."""
    flat = torch.cat([rest, rest[:, twin]]).flatten(1)
    flat = flat - flat.mean(0)
    _, values, axes = torch.svd_lowrank(flat, q=count + 20, niter=3)
    kept = values[:count].square().sum() / flat.square().sum()
    components = (axes[:, :count] * values[:count] / len(flat) ** 0.5).T
    return components.reshape(count, *rest.shape[1:]), float(kept)


def _whole_head(
    basis: MorphableBasis,
    vertices: npt.NDArray[np.intp],
    seen: Tensor,
    average: Tensor,
    tone: Tensor,
    patterns: Tensor,
    step: Tensor,
    components: Tensor,
    painted_tone: F64,
) -> tuple[F64, F64]:
    """Mean (V, 3) and components (K, V, 3) on the whole head: the painted pattern goes on where photos end."""
    relative = basis.mean_albedo / painted_tone  # the paint's pattern: 1 on plain skin
    skinlike = _skinlike(basis)
    mean = np.where(skinlike[:, None], relative * tone.numpy(), basis.mean_albedo).astype(np.float64)
    tones = np.where(skinlike[None, :, None], relative[None] * step.T.numpy()[:, None], 0.0)
    rest = np.zeros((len(components), basis.num_vertices, 3))
    known = np.zeros(basis.num_vertices, bool)
    known[vertices[seen.numpy()]] = True
    known &= skinlike
    inside = np.flatnonzero(known[vertices])
    values = np.concatenate(
        [
            np.log((average.double().numpy() / mean[vertices]).clip(0.05, 20))[None],
            patterns.double().numpy() - tones[:, vertices],
            components.double().numpy(),
        ]
    )
    spread = np.zeros((len(values), basis.num_vertices, 3))
    spread[:, vertices[inside]] = values[:, inside]
    spread = _fade(spread, known, skinlike, basis.faces)
    mean = mean * np.exp(spread[0])
    return mean.clip(0, 1), np.concatenate([tones + spread[1 : 1 + NUM_TONE], rest + spread[1 + NUM_TONE :]])


def _fade(
    values: F64, known: npt.NDArray[np.bool_], skinlike: npt.NDArray[np.bool_], faces: npt.NDArray[np.int32]
) -> F64:
    """Values (K, V, 3) carried beyond the known vertices, fading over the skin around them; 0 off the skin."""
    from scipy.sparse import coo_matrix, diags

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[skinlike[edges].all(axis=1)]
    num = values.shape[1]
    both = np.concatenate([edges, edges[:, ::-1]])
    adjacency = (coo_matrix((np.ones(len(both)), both.T), shape=(num, num)).tocsr() > 0).astype(np.float64)
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    average = diags(1 / np.maximum(degree, 1)) @ adjacency
    flat = np.moveaxis(values, 1, 0).reshape(num, -1)
    start, fixed = flat.copy(), known[:, None]
    for _ in range(120):
        flat = np.where(fixed, start, 0.93 * (average @ flat))
    flat[~skinlike] = 0.0
    return np.moveaxis(flat.reshape(num, len(values), 3), 0, 1)


def _tone_axis(tones: F64, step: F64) -> AttributeAxis:
    """ITA° along the line of skin colours: the photos' own where they have any, towards deep brown and very fair beyond."""
    samples = np.linspace(0.0, 1.0, 400)
    ita = individual_typology_angle(tones)
    low, high = np.percentile(ita, [2, 98])
    anchors, colours = [individual_typology_angle(DARKEST[None])[0]], [np.log(DARKEST)]
    for centre in np.linspace(low, high, 7):
        weight = np.exp(-0.5 * ((ita - centre) / 5.0) ** 2)
        anchors.append((weight * ita).sum() / weight.sum())
        colours.append((weight[:, None] * np.log(tones.clip(1e-3))).sum(0) / weight.sum())
    fairest = np.maximum(LIGHTEST, tones[ita > high].mean(0))
    if individual_typology_angle(fairest[None])[0] > anchors[-1] + 1:
        anchors.append(individual_typology_angle(fairest[None])[0])
        colours.append(np.log(fairest))
    line = np.interp(samples * (len(anchors) - 1), np.arange(len(anchors)), np.arange(len(anchors)))
    path = np.stack([np.interp(line, np.arange(len(anchors)), np.array(colours)[:, c]) for c in range(3)], axis=1)
    colour = np.exp(path)
    values = individual_typology_angle(colour)
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(values)) > 1e-6])
    coefficients = (colour - tones.mean(0)) @ np.linalg.inv(step).T
    return AttributeAxis("degree", values[rising], coefficients[rising], "albedo", tuple(range(NUM_TONE)))


def _painted_tone(basis: MorphableBasis) -> F64:
    """The painted skin's base colour (3,), linear RGB."""
    points = basis.mean_shape
    brows = points[basis.landmarks68[17:27], 1].max()
    middle = (np.abs(points[:, 0]) < 0.2) & (np.abs(points[:, 1] - brows - 0.15) < 0.08) & (points[:, 2] > 0.3)
    return basis.mean_albedo[middle].astype(np.float64).mean(axis=0)


def _skinlike(basis: MorphableBasis) -> npt.NDArray[np.bool_]:
    """(V,) vertices of skin, lips, brows, ears, neck and scalp."""
    parts = part_numbers(basis, ("skin", "lips", "brow_left", "brow_right", "ear_left", "ear_right", "neck", "scalp"))
    found = np.zeros(basis.num_vertices, bool)
    found[basis.faces[np.isin(basis.face_part, parts)]] = True
    inner = [n for n in range(1, len(basis.part_names)) if n not in parts]
    eyes = part_numbers(
        basis, tuple(n for n in basis.part_names if n.startswith(("eye_white", "iris", "pupil", "teeth", "tongue")))
    )
    found[basis.faces[np.isin(basis.face_part, [n for n in inner if n in eyes])]] = False
    return found
