"""Where the backbones of `synthface.networks.trunks` begin: the face mesh's published weights, read from its own file.

Source: Kartynnik et al. 2019; Apache-2.0, see `training/photos/models/README.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from synthface.errors import MissingExtraError
from synthface.networks.trunks import FaceMeshTrunk, LandmarkReader
from training.photos.tflite import MODELS


def start_pretrained(backbone: nn.Module) -> None:
    """Give a backbone of `trunks` its published weights; others keep their random ones.

    Raises:
        MissingExtraError: the file can't be read without `ai-edge-litert`.
        ValueError: the backbone's sizes aren't the published ones.
    """
    if not isinstance(backbone, FaceMeshTrunk | LandmarkReader):
        return
    weights = facemesh_weights(whole=isinstance(backbone, LandmarkReader))
    own = backbone.layers.state_dict()
    if [tuple(value.shape) for value in weights] != [tuple(value.shape) for value in own.values()]:
        config = backbone.config
        raise ValueError(
            f"stem {config.stem}, widths {config.widths}, blocks {config.blocks} aren't the face mesh's; "
            "take its sizes (recipes/portraits-128.yaml has them)"
        )
    backbone.layers.load_state_dict(dict(zip(own, weights, strict=True)))


def facemesh_weights(*, whole: bool) -> list[Tensor]:
    """Weights and biases of the trunk (stem and 14 blocks); if whole, of the landmarks' branch (3 blocks) and landmarks too."""
    constants = _constants("face_landmark")
    weights = [*_conv(constants, "conv2d", 1), _slope(constants, 1)]
    for block in range(1, 18 if whole else 15):
        weights += _block(constants, block, block + 1)
    if not whole:
        return weights
    weights += [*_conv(constants, "conv2d", 19), _slope(constants, 19)]
    return [*weights, *_block(constants, 18, 20), *_conv(constants, "conv2d", 21)]


def _constants(model: str) -> dict[str, Tensor]:
    """The constants of a `.tflite` file by name."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", "photos", "reading a pretrained trunk") from error
    interpreter = Interpreter(str(MODELS / f"{model}.tflite"))
    named = re.compile(r"\w+/(Kernel|Bias|Alpha)")
    return {
        entry["name"]: torch.from_numpy(np.array(interpreter.get_tensor(entry["index"]), np.float32))
        for entry in interpreter.get_tensor_details()
        if named.fullmatch(entry["name"])
    }


def _conv(constants: Mapping[str, Tensor], kind: str, number: int) -> list[Tensor]:
    """Kernel (out, in / groups, 3, 3) and bias; depthwise ones are stored as (1, 3, 3, C), others as (out, 3, 3, in)."""
    kernel = constants[f"{kind}_{number}/Kernel"]
    order = (3, 0, 1, 2) if kind == "depthwise_conv2d" else (0, 3, 1, 2)
    return [kernel.permute(order).contiguous(), constants[f"{kind}_{number}/Bias"]]


def _block(constants: Mapping[str, Tensor], depthwise: int, pointwise: int) -> list[Tensor]:
    """Depthwise, pointwise, activation."""
    weights = _conv(constants, "depthwise_conv2d", depthwise) + _conv(constants, "conv2d", pointwise)
    return [*weights, _slope(constants, pointwise)]


def _slope(constants: Mapping[str, Tensor], number: int) -> Tensor:
    return constants[f"p_re_lu_{number}/Alpha"].flatten()
