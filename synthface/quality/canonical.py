"""One standard picture of an identity, and what f_id says of it: what identities are compared by.

Neutral, frontal, under one light (the preset `frontal`), with the identity's own ε, drawn by the spec's own generator in its
own tiles. Under light from everywhere the renderer's heads lose their shape: over 48 heads, f_id then tells a head in another
pose and light from others in 95 % of pairs, with this light in 99.9 %. Drawing at 256 px instead of 128 changes nothing of
that (both 99.9 %; the distances of pairs correlate by 0.997) and costs four times as much.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.factors import lighting
from synthface.factors.types import FactorBatch, FactorLayout
from synthface.identities import IdentityTable, identity_factors
from synthface.seeding import normals
from synthface.spec.model import Spec

if TYPE_CHECKING:
    from synthface.generators.base import Generator
    from synthface.job import Job
    from synthface.networks.recognition import Recognition

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: H = W of the standard picture.
SIZE_PX = 128
#: Raised when the same identity gives another standard picture.
LOOK = 1


@lru_cache(maxsize=1)
def _standard_light() -> npt.NDArray[np.float64]:
    ambient, lamps = lighting.PRESETS["frontal"]
    sh = lighting.ambient(ambient)
    for azimuth, elevation, intensity, kelvin in lamps:
        sh = sh + lighting.directional(float(azimuth), float(elevation), float(intensity), kelvin)
    return sh


def canonical_factors(
    spec: Spec, layout: FactorLayout, persons: I64, reused: IdentityTable | None = None
) -> FactorBatch:
    """λ and ε of the standard pictures of draws (N,) of a spec's identities, or of reused ones.

    ε is what `noise: {per: identity}` gives each, or the dataset's one where the spec has one for all.
    """
    shape, albedo, _ = identity_factors(spec, layout, persons, reused)
    batch = FactorBatch.neutral(layout, len(persons))
    batch.shape[:], batch.albedo[:], batch.sh[:] = shape, albedo, _standard_light()
    index = np.zeros_like(persons) if spec.factors.noise.per == "dataset" else persons
    batch.noise[:] = normals(spec.seed, "noise", index, layout.num_noise)
    return batch


def describe(job: Job, persons: I64) -> F32:
    """Raw descriptors (N, D) of the standard pictures of draws (N,), in tiles of the generator's K.

    Tiles are cut from the first draw on; the last is filled up with its last draw.
    """
    factors = canonical_factors(job.spec, job.info.layout, persons, job.plan.reused)
    return describe_factors(job.generator, job.recognition, factors)


def describe_factors(generator: Generator, recognition: Recognition, factors: FactorBatch) -> F32:
    """Raw descriptors (N, D) of what a generator makes of λ and ε, tile by tile."""
    size, count = generator.tile_size, len(factors)
    parts = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        made = generator.generate(factors[rows], size_px=SIZE_PX)
        found = descriptors_of(recognition, made.images, made.scene.landmarks68_px / SIZE_PX)
        parts.append(found[: count - start])
    return np.concatenate(parts) if parts else np.empty((0, recognition.mean.shape[0]), np.float32)


def descriptors_of(recognition: Recognition, images: U8, landmarks: npt.NDArray[np.floating]) -> F32:
    """Raw descriptors (N, D) of pictures.

    Args:
        recognition: f_id.
        images: (N, H, W, 3).
        landmarks: (N, 68 or 468, 2) fractions of the pictures' size.
    """
    import torch

    device = recognition.mean.device
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    points = torch.from_numpy(np.ascontiguousarray(landmarks, np.float32)).to(device)
    with torch.no_grad():
        found: F32 = recognition(pixels, points).cpu().numpy()
    return found


def recognition_digest(recognition: Recognition) -> str:
    """SHA-256 over a recognition network's weights and mean."""
    sha = hashlib.sha256()
    for name, value in sorted(recognition.state_dict().items()):
        sha.update(name.encode())
        sha.update(value.cpu().numpy().tobytes())
    return sha.hexdigest()


def generator_kind(generator: Generator) -> dict[str, Any]:
    """What a generator says of itself without what it ran on: its pictures' looks, not their last bits."""
    ran_on = ("device", "torch", "numpy", "truncation")
    return {key: value for key, value in generator.describe().items() if key not in ran_on}
