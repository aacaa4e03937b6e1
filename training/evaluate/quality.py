"""How photo-like and how varied: Fréchet and kernel distances, precision and recall, each on named features.

A Fréchet distance is called FID where the features are TF-Inception's, which the user must give, and `fd[features]`
otherwise. Descriptors of recognition networks are centred and brought to unit length first. `photos` holds the same between
two halves of the photos: what a perfect generator would reach at that number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.evaluate import distances
from training.evaluate.bench import Bench, Unavailable, pool_networks
from training.evaluate.networks import Named, unit_descriptors
from training.evaluate.recipe import QualitySizes
from training.gan.metrics import frechet_distance


def count(bench: Bench) -> int:
    """Pictures to look at."""
    return bench.recipe.quality.num_fakes + bench.num_real


def measure(bench: Bench) -> dict[str, Any]:
    """All figures on all features.

    Raises:
        Unavailable: there are no photos, or nothing to see them with.
    """
    sizes = bench.recipe.quality
    extractors = [named for named in pool_networks(bench.networks) if named.role != "judge"]
    if not extractors:
        raise Unavailable("needs features: neither a feature network nor a recognition network is there")
    real = bench.read_real(extractors)
    _, fake = bench.pool(sizes.num_fakes)
    figures = {}
    for named in extractors:
        first, second = vectors(real, named), vectors(fake, named)
        figures[named.name] = compare(first, second, named, sizes, rng=bench.rng(named.name))
    return {"num_fakes": sizes.num_fakes, "size_px": bench.subject.size_px, "by": figures}


def vectors(read: Mapping[str, Tensor], named: Named) -> Tensor:
    """A network's features among readings, (N, D); descriptors of recognisers centred and of unit length."""
    is_recogniser = named.role in ("recognition", "second recognition")
    return unit_descriptors(read, named) if is_recogniser else read[named.name]


def compare(real: Tensor, fake: Tensor, named: Named, sizes: QualitySizes, *, rng: torch.Generator) -> dict[str, Any]:
    """Every figure on one network's features (N, D) and (M, D)."""
    is_inception = named.role == "inception"
    fd, kid = ("FID", "KID") if is_inception else (f"fd[{named.name}]", f"kid[{named.name}]")
    kid_sizes = {"num_subsets": sizes.kid_subsets, "subset": sizes.kid_subset}
    distance, spread = distances.kernel_distance(real, fake, **kid_sizes, rng=rng)
    num = min(len(real), len(fake), sizes.num_manifold)
    precision, recall = distances.precision_recall(real[:num], fake[:num], neighbours=sizes.neighbours)
    half = len(real) // 2
    photo_kid, _ = distances.kernel_distance(real[:half], real[half:], **kid_sizes, rng=rng)
    few = min(num, half)
    photo_precision, photo_recall = distances.precision_recall(
        real[:few], real[half : half + few], neighbours=sizes.neighbours
    )
    return {
        "num_photos": len(real),
        "num_features": real.shape[1],
        fd: frechet_distance(real, fake),
        kid: distance,
        "kid_std": spread,
        "precision": precision,
        "recall": recall,
        "num_manifold": num,
        "networks": [named.name],
        "photos": {
            fd: frechet_distance(real[:half], real[half:]),
            kid: photo_kid,
            "precision": photo_precision,
            "recall": photo_recall,
            "num": half,
        },
    }
