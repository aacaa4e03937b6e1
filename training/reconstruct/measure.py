"""How well a network reads pictures that it didn't learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.factors import lighting
from synthface.networks.mapping import LambdaSizes
from synthface.networks.points import Points
from synthface.networks.reconstruction import Reconstructed, Reconstruction
from training.reconstruct.batches import Batch
from training.reconstruct.losses import landmark_error

F64 = npt.NDArray[np.float64]
#: Lights whose first band is weaker than this share of the constant come from nowhere in particular.
_LEAST_BAND = 0.15


@torch.no_grad()
def read_all(network: Reconstruction, images: Tensor, *, chunk: int = 50) -> Reconstructed:
    """What a network reads off N pictures."""
    network.eval()
    parts = [network(part) for part in torch.split(images, chunk)]
    return Reconstructed(*(torch.cat(list(column)) for column in zip(*parts, strict=True)))


@torch.no_grad()
def quick(network: Reconstruction, batches: Sequence[Batch], detector: Points | None) -> dict[str, float]:
    """A few figures for the choice among checkpoints; `score` is to be small."""
    figures = known_figures(network, batches, thorough=False)
    score = figures["pose_mae_deg"] / 2 + figures["landmark_nme"] / 0.03 + figures["light_error_deg"] / 8
    score += 1 - figures["expression_r2_mean"]
    figures |= photo_landmarks(network, batches, detector)
    score += figures.get("photos_landmark_nme", 0.0) / 0.04
    return {name: float(value) for name, value in figures.items()} | {"score": float(score)}


def known_figures(network: Reconstruction, batches: Sequence[Batch], *, thorough: bool = True) -> dict[str, float]:
    """Errors on renderings, where λ is known: poses with |yaw| ≤ 60°."""
    sizes = network.sizes
    images = torch.cat([b.images[: b.num_renderings] for b in batches])
    vector = torch.cat([b.vector[: b.num_renderings] for b in batches])
    view = torch.cat([b.view[: b.num_renderings] for b in batches])
    read = read_all(network, images)
    pose, found_pose = (torch.rad2deg(v[:, sizes.parts["pose_rad"]]) for v in (vector, read.vector))
    within = pose[:, 1].abs() <= 60
    error = (found_pose - pose).abs()[within]
    true = sizes.unpack(vector)
    landmarks = network.points(true.shape, true.expression, true.pose_rad, view)
    nme = landmark_error(read.landmarks, landmarks, view)
    figures = {
        name: float(error[:, k].mean()) for k, name in enumerate(("pitch_mae_deg", "yaw_mae_deg", "roll_mae_deg"))
    }
    figures |= {"pose_mae_deg": float(error.mean()), "landmark_nme": float(nme[within].mean())}
    figures |= light_figures(vector, read.vector, sizes)
    r2 = coefficient_r2(vector, read.vector, sizes.columns("expression"))
    figures["expression_r2_mean"] = float(np.mean(r2))
    if thorough:
        figures["landmark_nme_frontal"] = float(nme[pose[:, 1].abs() < 30].mean())
        figures["num"] = len(images)
        for name in ("shape", "albedo"):
            columns = torch.arange(sizes.parts[name].start, sizes.parts[name].stop)
            values = coefficient_r2(vector, read.vector, columns)
            figures |= {f"{name}_r2_mean": float(np.mean(values)), f"{name}_r2_first10": float(np.mean(values[:10]))}
    return figures


def expression_r2(network: Reconstruction, batches: Sequence[Batch]) -> dict[str, float]:
    """R² of each named action on renderings, best first."""
    images = torch.cat([b.images[: b.num_renderings] for b in batches])
    vector = torch.cat([b.vector[: b.num_renderings] for b in batches])
    values = coefficient_r2(vector, read_all(network, images).vector, network.sizes.columns("expression"))
    named = dict(zip(network.config.expression_names, values, strict=True))
    return {name: round(float(named[name]), 3) for name in sorted(named, key=lambda n: -named[n])}


def light_figures(vector: Tensor, found: Tensor, sizes: LambdaSizes) -> dict[str, float]:
    """Error of the dominant direction, and R² of the first band over the constant, luminance-weighted."""
    sh, found_sh = (v[:, sizes.parts["sh"]].reshape(-1, 3, 9).double().numpy() for v in (vector, found))
    ratio, found_ratio = first_band(sh), first_band(found_sh)
    strong = np.linalg.norm(ratio, axis=1) > _LEAST_BAND
    towards, found_towards = (lighting.direction(*lighting.dominant_direction(s[strong]).T) for s in (sh, found_sh))
    angle = np.degrees(np.arccos((towards * found_towards).sum(axis=1).clip(-1, 1)))
    spread = ((ratio - ratio.mean(axis=0)) ** 2).sum()
    return {
        "light_error_deg": float(angle.mean()),
        "light_error_median_deg": float(np.median(angle)),
        "band_ratio_r2": float(1 - ((found_ratio - ratio) ** 2).sum() / max(spread, 1e-12)),
    }


def first_band(sh: F64) -> F64:
    """(N, 3) first band over constant, as irradiance, in luminance."""
    luminance = np.einsum("nck,c->nk", sh, np.array([0.2126, 0.7152, 0.0722])) * lighting.LAMBERT * lighting.CONSTANTS
    return luminance[:, 1:4] / np.maximum(luminance[:, :1], 1e-6)


def coefficient_r2(true: Tensor, found: Tensor, columns: Tensor) -> F64:
    """(K,) R² of columns; 0 where one doesn't vary."""
    a, b = true[:, columns].double(), found[:, columns].double()
    spread = (a - a.mean(dim=0)).square().sum(dim=0)
    r2 = 1 - (a - b).square().sum(dim=0) / spread.clamp_min(1e-9)
    return torch.where(spread > 1e-6, r2, torch.zeros_like(r2)).numpy()


@torch.no_grad()
def photo_landmarks(network: Reconstruction, batches: Sequence[Batch], detector: Points | None) -> Mapping[str, float]:
    """Landmarks read off photos against the detector's, and against the fit's, over the eyes' distance."""
    batches = [batch for batch in batches if len(batch.photos)]
    if not batches:
        return {}
    rows = [slice(b.num_renderings, None) for b in batches]
    vector, view = (
        torch.cat([getattr(b, n)[r] for b, r in zip(batches, rows, strict=True)]) for n in ("vector", "view")
    )
    read = read_all(network, torch.cat([b.images[r] for b, r in zip(batches, rows, strict=True)]))
    assert read.view is not None
    fitted, found = network.sizes.unpack(vector), network.sizes.unpack(read.vector)
    of_fit = network.points(fitted.shape, fitted.expression, fitted.pose_rad, view)
    figures = {"photos_fit_nme": float(landmark_error(read.landmarks, of_fit, view).mean())}
    if detector is not None:
        given = torch.cat([b.detector for b in batches])
        at = detector(found.shape, found.expression, found.pose_rad, read.view)
        figures["photos_landmark_nme"] = float(landmark_error(at, given, view).mean())
        at = detector(fitted.shape, fitted.expression, fitted.pose_rad, view)
        figures["photos_landmark_nme_of_the_fit"] = float(landmark_error(at, given, view).mean())
    return figures
