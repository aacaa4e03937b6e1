"""From dlib's saved layers to a `Recognition`: the architecture read off the layers, batch normalisation folded in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.errors import GeneratorError
from synthface.networks import chips
from synthface.networks.recognition import DEFAULT, Recognition, RecognitionConfig
from synthface.networks.residual import ResidualConfig, ResidualNetwork
from training.recognition.dlib_file import Layer, SavedNetwork, read_network

F64 = npt.NDArray[np.float64]

_STEM = ("con", "affine", "relu", "max_pool")
_PLAIN = ("con", "affine", "relu", "con", "affine", "add_prev", "relu")
_HALVING = ("con", "affine", "relu", "con", "affine", "avg_pool", "add_prev", "relu")
_END = ("avg_pool", "fc")


def import_dlib(path: Path) -> Recognition:
    """The recognition network in a file that dlib saved; its mean descriptor is not known yet, zeros.

    Raises:
        GeneratorError: the file isn't one, or the network isn't a residual one of dlib's kind.
    """
    saved = read_network(path)
    network, config = to_network(saved, str(path))
    whole = RecognitionConfig(
        name=DEFAULT,
        architecture="dlib-resnet",
        settings=config.to_dict(),
        size_px=config.size_px,
        target=tuple((float(x), float(y)) for x, y in chips.places().tolist()),
        card=_card(path),
    )
    return Recognition(whole, network, torch.zeros(config.descriptor_size)).eval().requires_grad_(False)


def to_network(saved: SavedNetwork, name: str) -> tuple[ResidualNetwork, ResidualConfig]:
    """The network and its architecture.

    Raises:
        GeneratorError: layers come in an order, or have sizes, that the architecture doesn't have.
    """
    parts = list(_parts(saved.layers, name))
    stem, *blocks, end = parts
    tensors = dict(_convolution("stem", *stem[:2]))
    shapes = []
    for n, block in enumerate(blocks):
        tensors |= _convolution(f"blocks.{n}.first", *block[:2])
        tensors |= _convolution(f"blocks.{n}.second", *block[3:5])
        shapes.append((block[0].settings["filters"], block[0].settings["stride_y"]))
    fc = end[1]
    weight = fc.params.reshape(fc.settings["inputs"], fc.settings["outputs"])
    tensors["last.weight"] = torch.from_numpy(weight.T.copy())
    first = stem[0].settings
    config = ResidualConfig(
        saved.size_px, saved.colour_mean, (first["filters"], first["rows"]), tuple(shapes), fc.settings["outputs"]
    )
    network = ResidualNetwork(config)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise GeneratorError(f"{name}: sizes don't fit each other ({error}); import dlib's own file") from error
    return network, config


def _parts(layers: Sequence[Layer], name: str) -> Iterator[Sequence[Layer]]:
    """Stem, blocks and end, each checked."""
    kinds, at = [layer.kind for layer in layers], 0
    for pattern in _patterns(kinds, name):
        part = layers[at : at + len(pattern)]
        if not all(_fits(layer, pattern) for layer in part):
            raise GeneratorError(
                f"{name}: layers {at + 1} to {at + len(pattern)} have sizes or strides that this architecture hasn't: "
                f"{[dict(layer.settings) for layer in part]}; import dlib's own file"
            )
        yield part
        at += len(pattern)


def _patterns(kinds: Sequence[str], name: str) -> Iterator[Sequence[str]]:
    at = 0
    while at < len(kinds):
        allowed = (_STEM,) if at == 0 else (_PLAIN, _HALVING, _END)
        found = next((pattern for pattern in allowed if tuple(kinds[at : at + len(pattern)]) == pattern), None)
        if found is None or (found == _END) != (at + len(found) == len(kinds)):
            raise GeneratorError(
                f"{name}: after layer {at} come {', '.join(kinds[at : at + 8]) or 'none'}; allowed: "
                f"{' or '.join('-'.join(pattern) for pattern in allowed)}; import dlib's face recognition network"
            )
        yield found
        at += len(found)


def _fits(layer: Layer, pattern: Sequence[str]) -> bool:
    """Is it square, padded and strided as `ResidualNetwork` does it?"""
    s = layer.settings
    if layer.kind in ("affine", "relu"):
        return not s["disabled"]
    if layer.kind == "fc":
        return not s["has_bias"] and layer.params.size == s["inputs"] * s["outputs"]
    if layer.kind == "add_prev":
        return True
    if s["rows"] != s["columns"] or s["stride_y"] != s["stride_x"] or s["padding_y"] != s["padding_x"]:
        return False
    taps, stride, padding = s["rows"], s["stride_y"], s["padding_y"]
    if layer.kind == "max_pool":
        return (taps, stride, padding) == (3, 2, 0)
    if layer.kind == "avg_pool":
        return (taps, stride, padding) == ((0, 1, 0) if pattern == _END else (2, 2, 0))
    if pattern == _STEM:
        return stride == 2 and padding == 0
    return taps == 3 and (stride, padding) in (((1, 1), (2, 0)) if pattern == _HALVING else ((1, 1),))


def _convolution(name: str, con: Layer, affine: Layer) -> Mapping[str, Tensor]:
    """Weights and biases with the normalisation's scale and shift folded in."""
    s = con.settings
    num = s["filters"] * s["inputs"] * s["rows"] * s["columns"]
    weight = con.params[:num].astype(np.float64).reshape(s["filters"], s["inputs"], s["rows"], s["columns"])
    bias: F64 = con.params[num:].astype(np.float64) if s["biases"] else np.zeros(s["filters"])
    scale, shift = affine.params.astype(np.float64).reshape(2, -1)
    folded = {"weight": weight * scale[:, None, None, None], "bias": bias * scale + shift}
    return {f"{name}.{key}": torch.from_numpy(value.astype(np.float32)) for key, value in folded.items()}


def _card(path: Path) -> Mapping[str, Any]:
    return {
        "licence": "CC0-1.0",
        "source": f"{path.name}, Davis E. King 2017, as carried by the PyPI package face-recognition-models 0.3.0",
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
