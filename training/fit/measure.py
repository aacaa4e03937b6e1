"""How well λ explains the photos: landmarks, colours, identity, and whether light and albedo are apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synthface.morphable.basis import MorphableBasis
from synthface.morphable.camera import clip_to_pixels
from synthface.morphable.model import Factors, MorphableModel
from synthface.morphable.render import render
from synthface.morphable.skin import plain_skin
from synthface.networks.recognition import load_recognition
from training.fit.geometry import Geometry
from training.fit.surface import Surface, framed
from training.fit.unlit import without_light
from training.photos.prepared import PreparedPhotos

#: Photos whose re-renderings are compared, spread over the folder, and at which size.
_NUM_COMPARED, _SIZE_PX = 400, 128
_MILD_DEG, _WIDE_DEG = 15.0, 25.0


def measure(
    basis: MorphableBasis,
    photos: PreparedPhotos,
    factors: Factors,
    geometry: Geometry,
    surface: Surface,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """All figures of a fit."""
    skin = torch.from_numpy(plain_skin(basis)[surface.vertices])
    normals = MorphableModel(basis).normals(torch.from_numpy(basis.mean_shape)[None])[0, surface.vertices]
    _, light_in_albedo = without_light(torch.from_numpy(basis.mean_albedo[surface.vertices]), normals, skin)
    yaw = factors.pose_rad[:, 1].rad2deg().abs()
    active = factors.expression > 0.1
    figures: dict[str, Any] = {
        "num_photos": len(photos),
        "landmark_error_px": _spread(geometry.residual_px),
        "landmark_nme": float(geometry.residual_px.mean() / _interocular_px(geometry)),
        "pose_std_deg": dict(zip(("pitch", "yaw", "roll"), factors.pose_rad.rad2deg().std(0).tolist(), strict=True)),
        "share_beyond_yaw": {f"{d:g} deg": float((yaw > d).float().mean()) for d in (_MILD_DEG, _WIDE_DEG)},
        "num_active_expressions": float(active.float().sum(1).mean()),
        "share_active": _by_name(basis, active),
        "light_in_mean_log_albedo_r2": light_in_albedo,
    }
    report("re-renderings against photos")
    return figures | _rerendered(basis, photos, factors, geometry.view)


@torch.no_grad()
def _rerendered(basis: MorphableBasis, photos: PreparedPhotos, factors: Factors, view: Tensor) -> dict[str, Any]:
    """Colour error in the face, and f_id of photos against their own and others' re-renderings."""
    rows = np.unique(np.linspace(0, len(photos) - 1, min(_NUM_COMPARED, len(photos))).round().astype(int))
    model, recognition = MorphableModel(basis), load_recognition()
    face = torch.from_numpy(np.append(basis.face_mask, False))
    colours, real, drawn = [], [], []
    for start in range(0, len(rows), 25):
        part = rows[start : start + 25]
        index = torch.from_numpy(part)
        pixels = np.stack([framed(photos, int(row), view[row].numpy(), _SIZE_PX) for row in part])
        photo = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        rendered = render(model, Factors(*(f[index] for f in factors)), _SIZE_PX)
        mask = face[rendered.fragments.face_idx][:, None].float()
        points = clip_to_pixels(rendered.clip[:, model.landmarks68], 1)
        difference = (photo - rendered.image).abs().mean(1, keepdim=True) / 2
        colours.append((difference * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)))
        real.append(recognition(photo * mask, points))
        drawn.append(recognition(rendered.image * mask, points))
    figures: dict[str, Any] = {"colour_error": _spread(torch.cat(colours))}
    return figures | identity_figures(torch.cat(real), torch.cat(drawn))


def identity_figures(real: Tensor, drawn: Tensor) -> dict[str, Any]:
    """Do descriptors (N, D) of photos know their own renderings' (N, D)? Each kind is centred by its own mean."""
    a, b = (F.normalize(x - x.mean(0), dim=1) for x in (real, drawn))
    similarity = a @ b.T
    own = similarity.diagonal()
    others = similarity[~torch.eye(len(own), dtype=torch.bool)].reshape(len(own), -1)
    return {
        "identity_auc": float((own[:, None] > others).float().mean()),
        "identity_distance_own": float((1 - own).median()),
        "identity_distance_others": float((1 - others).median()),
    }


def _interocular_px(geometry: Geometry) -> Tensor:
    """Mean distance between the outer corners of the eyes, px of the frame (landmarks of the face mesh)."""
    points = geometry.landmarks_px
    first, second = (33, 263) if points.shape[1] == 468 else (36, 45)
    return (points[:, first] - points[:, second]).norm(dim=-1).mean()


def _spread(values: Tensor) -> Mapping[str, float]:
    found = torch.quantile(values, torch.tensor([0.05, 0.5, 0.95, 1.0])).tolist()
    return dict(zip(("p05", "median", "p95", "max"), found, strict=True))


def _by_name(basis: MorphableBasis, active: Tensor) -> dict[str, float]:
    share = active.float().mean(0)
    order = share.argsort(descending=True).tolist()
    return {basis.expression_names[k]: round(float(share[k]), 3) for k in order if share[k] > 0}
