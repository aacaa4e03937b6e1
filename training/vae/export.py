"""Writing the λ-VAEs: decoders for rendering, and whole for a generator that takes z."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from synthface.errors import GeneratorError
from synthface.networks import decoders
from synthface.networks.vae import FactorVae, VaeConfig
from training.checkpoint import load_module, module_tensors

_WHOLE = "vaes.safetensors"


def save_priors(folder: Path, vaes: Mapping[str, FactorVae], figures: Mapping[str, Any]) -> None:
    """Write the decoders as `networks.decoders` reads them, and the whole networks beside them for training."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors, factors = {}, {}
    for name, vae in vaes.items():
        layers = [layer for layer in vae.decoder if isinstance(layer, nn.Linear)]
        for number, layer in enumerate(layers):
            tensors[f"{name}.{number}.weight"] = layer.weight.detach().contiguous()
            tensors[f"{name}.{number}.bias"] = layer.bias.detach().contiguous()
        tensors[f"{name}.mean"], tensors[f"{name}.scale"] = vae.mean, vae.scale
        tensors[f"{name}.log_s"] = vae.log_s.detach()
        factors[name] = {"num_layers": len(layers), **asdict(vae.config)}
    data = save(tensors)
    whole = save({k: v for name, vae in vaes.items() for k, v in module_tensors(name, vae).items()})
    (folder / decoders.WEIGHTS).write_bytes(data)
    (folder / _WHOLE).write_bytes(whole)
    config = {
        "format": decoders.FORMAT,
        "sha256": hashlib.sha256(data).hexdigest(),
        "sha256_whole": hashlib.sha256(whole).hexdigest(),
        "factors": factors,
        "figures": figures,
    }
    (folder / decoders.CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_vaes(folder: Path) -> dict[str, FactorVae]:
    """The whole λ-VAEs that `save_priors` wrote.

    Raises:
        GeneratorError: files are missing or differ from their hash.
    """
    from safetensors.torch import load

    try:
        config = json.loads((folder / decoders.CONFIG).read_text(encoding="utf-8"))
        data = (folder / _WHOLE).read_bytes()
    except OSError as error:
        raise GeneratorError(f"{folder}: no λ-VAEs there ({error}); `python -m training vae` writes them") from error
    if hashlib.sha256(data).hexdigest() != config["sha256_whole"]:
        raise GeneratorError(f"{folder / _WHOLE}: it differs from its hash in {decoders.CONFIG}; copy it anew")
    tensors = load(data)
    vaes = {}
    for name, entry in config["factors"].items():
        bounds = None if entry["bounds"] is None else tuple(entry["bounds"])
        vaes[name] = FactorVae(VaeConfig(entry["size"], entry["z_size"], entry["width"], bounds))
        load_module(name, vaes[name], tensors)
    return {name: vae.eval() for name, vae in vaes.items()}
