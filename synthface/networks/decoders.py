"""The λ-VAEs' decoders in NumPy: `prior` in a spec draws z and decodes it here, without torch.

A folder of priors holds `priors.safetensors` (the decoders) and `priors.json` (shapes, bounds, figures, hash).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synthface.errors import GeneratorError

FORMAT = "synthface-priors-1"
WEIGHTS, CONFIG = "priors.safetensors", "priors.json"
#: As in `networks.vae.smooth_clamp`.
_SHARPNESS = 40.0

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decoder:
    """One factor's decoder.

    Args:
        weights, biases: of each layer, float64.
        mean, scale: of the λ that it was trained on.
        s: standard deviation of λ given z, in units of `scale`.
        bounds: range that λ can't leave, or None.
    """

    weights: tuple[F64, ...]
    biases: tuple[F64, ...]
    mean: F64
    scale: F64
    s: float
    bounds: tuple[float, float] | None

    @property
    def z_size(self) -> int:
        """Length of z."""
        return int(self.weights[0].shape[1])

    @property
    def size(self) -> int:
        """Length of λ."""
        return len(self.mean)

    def decode(self, z: F64, *, residual: F64 | None = None) -> npt.NDArray[np.float32]:
        """λ (N, size) of z (N, z_size), both standard normal; `residual` (N, size) as in `FactorVae.decode`.

        Each row is decoded by itself in double precision: a sample's λ doesn't depend on how many are decoded at once.
        """
        z = np.asarray(z, np.float64)
        extra = np.zeros((len(z), self.size)) if residual is None else self.s * np.asarray(residual, np.float64)
        return np.stack([self._row(*row) for row in zip(z, extra, strict=True)]).astype(np.float32)

    def _row(self, z: F64, extra: F64) -> F64:
        x = z
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = np.maximum(weight @ x + bias, 0.0)
        factor = self.mean + self.scale * (self.weights[-1] @ x + self.biases[-1] + extra)
        if self.bounds is None:
            return factor
        low, high = self.bounds
        k = _SHARPNESS / (high - low)
        # logaddexp(0, t) is softplus without overflow.
        bent = low + (np.logaddexp(0.0, k * (factor - low)) - np.logaddexp(0.0, k * (factor - high))) / k
        return np.clip(bent, low, high)


def load_decoders(folder: str | Path) -> Mapping[str, Decoder]:
    """Factor (`identity`, `expression`, `lighting`, `pose`) to its decoder.

    Raises:
        GeneratorError: files are missing, of another format, or differ from their hash.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        data = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise GeneratorError(f"{folder}: no priors there ({error}); `python -m training vae` writes them") from error
    if config.get("format") != FORMAT:
        raise GeneratorError(f"{folder / CONFIG}: format is {config.get('format')!r}, this version reads {FORMAT!r}")
    found = hashlib.sha256(data).hexdigest()
    if found != config["sha256"]:
        raise GeneratorError(
            f"{folder / WEIGHTS}: its SHA-256 is {found[:12]}…, {CONFIG} says {config['sha256'][:12]}…; copy it anew"
        )
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise GeneratorError(f"{folder / WEIGHTS}: {error}; copy it anew") from error
    return {name: _decoder(name, entry, arrays) for name, entry in config["factors"].items()}


def _decoder(name: str, entry: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Decoder:
    layers = range(entry["num_layers"])
    return Decoder(
        weights=tuple(arrays[f"{name}.{n}.weight"].astype(np.float64) for n in layers),
        biases=tuple(arrays[f"{name}.{n}.bias"].astype(np.float64) for n in layers),
        mean=arrays[f"{name}.mean"].astype(np.float64),
        scale=arrays[f"{name}.scale"].astype(np.float64),
        s=float(np.exp(arrays[f"{name}.log_s"])),
        bounds=None if entry["bounds"] is None else (entry["bounds"][0], entry["bounds"][1]),
    )
