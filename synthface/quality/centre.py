"""Where a kind of pictures lies among f_id's descriptors: what comes off before distances are taken.

f_id's descriptors all point one way: the raw cosine of strangers is 0.9, so its mean over photos of many people comes off
first. Renderings of a morphable model lie together, away from photos: centred by the photos' mean, different heads are only 0.3
apart, since what they share (being renderings) counts as likeness. The mean of *renderings* takes that off, and different
heads are 1.0 apart again, as strangers in photos are. So the centre belongs to the kind of generator:

- pictures that look like photos (trained bundles): the recognition network's own mean, over photos;
- renderings: the mean over standard pictures of the generator's first `NUM_IDENTITIES` identities, under a seed of its own.
  It doesn't depend on the spec: with the mean of the spec's own identities, a spec of lookalikes would find them far apart.

The bundled renderer's centre ships (`assets/quality/centres.json`); another's is computed when it is needed.
`python -m synthface.quality.centre` writes the file anew, after the bundled model or the standard picture has changed.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.quality.canonical import (
    LOOK,
    SIZE_PX,
    canonical_factors,
    describe_factors,
    generator_kind,
    recognition_digest,
)
from synthface.spec.model import Identities, Spec

if TYPE_CHECKING:
    from synthface.generators.base import Generator
    from synthface.networks.recognition import Recognition

F32 = npt.NDArray[np.float32]

#: Identities that a renderer's centre is the mean of: its error is then 1/16 of their spread, 1/256 of a squared length.
NUM_IDENTITIES = 256
_ASSET = Path(str(resources.files("synthface"))) / "assets" / "quality" / "centres.json"


def centre_of(generator: Generator, recognition: Recognition) -> F32:
    """The mean descriptor (D,) of a generator's kind of pictures."""
    if getattr(generator, "looks_like_photos", False):
        mean: F32 = recognition.mean.cpu().numpy().astype(np.float32)
        return mean
    known = _shipped().get(_key(generator, recognition))
    return measure(generator, recognition) if known is None else np.array(known, np.float32)


def measure(generator: Generator, recognition: Recognition) -> F32:
    """The mean descriptor (D,) over the generator's own first identities."""
    spec = Spec("centre", 0, Identities(NUM_IDENTITIES), {})
    factors = canonical_factors(spec, generator.layout, np.arange(NUM_IDENTITIES))
    mean: F32 = describe_factors(generator, recognition, factors).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _key(generator: Generator, recognition: Recognition) -> str:
    """What the measured centre depends on."""
    factors = canonical_factors(Spec("centre", 0, Identities(2), {}), generator.layout, np.arange(2))
    about = {
        "generator": generator_kind(generator),
        # Whom its prior draws, as far as any machine draws them alike.
        "identities": np.round(np.concatenate([factors.shape, factors.albedo], axis=1), 2).tolist(),
        "recognition": recognition_digest(recognition),
        "standard_picture": [SIZE_PX, LOOK, NUM_IDENTITIES],
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def _shipped() -> dict[str, list[float]]:
    centres: dict[str, Any] = json.loads(_ASSET.read_text(encoding="utf-8")) if _ASSET.is_file() else {}
    return {entry["key"]: entry["centre"] for entry in centres.values()}


def is_shipped(generator: Generator, recognition: Recognition) -> bool:
    """Whether the centre is there without measuring."""
    return _key(generator, recognition) in _shipped()


def main() -> None:
    """Measure the bundled renderer's centres and write the asset."""
    from synthface.engines.local import single_threaded
    from synthface.generators import load_generator
    from synthface.networks.recognition import DEFAULT, load_recognition

    generator, recognition = load_generator("3dmm"), load_recognition()
    with single_threaded():
        centre = measure(generator, recognition)
    entry = {"key": _key(generator, recognition), "centre": [round(float(value), 6) for value in centre]}
    _ASSET.parent.mkdir(parents=True, exist_ok=True)
    _ASSET.write_text(json.dumps({f"{DEFAULT} of {generator.name}": entry}) + "\n", encoding="utf-8")
    print(f"{_ASSET}: {DEFAULT} of {generator.name}")


if __name__ == "__main__":
    main()
