"""Backbones: face crops to descriptors.

`ir18` and `ir50` are the residual networks of ArcFace, `mobilefacenet` the small one of phones. `width` scales every layer's
channels, `size_px` may be any size: tests and the study use narrow ones on small pictures.

Source: He et al. 2016; Deng et al. 2019 (ArcFace, Sec. 3.1: the improved residual unit and the output BN–dropout–FC–BN);
Chen et al. 2018 (MobileFaceNets, Table 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from synthface.networks.folders import NetworkKind


@dataclass(frozen=True)
class NetworkSettings:
    """A backbone.

    Args:
        architecture: `ir18`, `ir50` or `mobilefacenet`.
        size_px: H = W of the crops.
        width: what channels are multiplied by.
        descriptor_size: D.
        dropout: before the last layer of the residual networks.
    """

    architecture: Literal["ir18", "ir50", "mobilefacenet"] = "ir50"
    size_px: int = 112
    width: float = 1.0
    descriptor_size: int = 512
    dropout: float = 0.0

    def channels(self, width: int) -> int:
        """Channels after scaling, a multiple of four."""
        return max(4, 4 * round(width * self.width / 4))


class ResidualUnit(nn.Module):
    """BN, 3 × 3, BN, PReLU, 3 × 3 with the stride, BN, beside a shortcut."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.BatchNorm2d(num_in),
            nn.Conv2d(num_in, num_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
            nn.PReLU(num_out),
            nn.Conv2d(num_out, num_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
        )
        keeps = stride == 1 and num_in == num_out
        self.shortcut: nn.Module = nn.Identity() if keeps else _normed(num_in, num_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of 1/stride of the size, rounded up."""
        return self.shortcut(x) + self.main(x)


class LinearBottleneck(nn.Module):
    """1 × 1 to more channels, a depthwise 3 × 3, 1 × 1 to few without activation; beside an identity where sizes agree."""

    def __init__(self, num_in: int, num_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = num_in * expansion
        self.main = nn.Sequential(
            _normed(num_in, inner, 1),
            nn.PReLU(inner),
            _normed(inner, inner, 3, stride, groups=inner),
            nn.PReLU(inner),
            _normed(inner, num_out, 1),
        )
        self.keeps = stride == 1 and num_in == num_out

    def forward(self, x: Tensor) -> Tensor:
        """Maps of 1/stride of the size, rounded up."""
        return x + self.main(x) if self.keeps else self.main(x)


class Backbone(nn.Sequential):
    """Crops (N, 3, size, size) in [−1, 1] to descriptors (N, D), not normalised."""

    def __init__(self, settings: NetworkSettings, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.settings = settings
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")


def residual(settings: NetworkSettings, blocks: Sequence[int]) -> Backbone:
    """Four stages of residual units, each halving first."""
    widths = [settings.channels(width) for width in (64, 64, 128, 256, 512)]
    units = [
        ResidualUnit(widths[stage if n == 0 else stage + 1], widths[stage + 1], 2 if n == 0 else 1)
        for stage, num in enumerate(blocks)
        for n in range(num)
    ]
    side = _halved(settings.size_px, len(blocks))
    last = nn.Linear(widths[-1] * side * side, settings.descriptor_size)
    return Backbone(
        settings,
        _normed(3, widths[0], 3),
        nn.PReLU(widths[0]),
        *units,
        nn.BatchNorm2d(widths[-1]),
        nn.Dropout(settings.dropout),
        nn.Flatten(),
        last,
        nn.BatchNorm1d(settings.descriptor_size),
    )


#: Expansion, channels, repetitions and stride of each row of MobileFaceNets' Table 1.
_MOBILE_ROWS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


def mobile(settings: NetworkSettings) -> Backbone:
    """Linear bottlenecks and a depthwise convolution over what is left of the picture."""
    stem, last = settings.channels(64), settings.channels(512)
    layers: list[nn.Module] = [
        _normed(3, stem, 3, 2),
        nn.PReLU(stem),
        _normed(stem, stem, 3, groups=stem),
        nn.PReLU(stem),
    ]
    before = stem
    for expansion, width, num, stride in _MOBILE_ROWS:
        for n in range(num):
            layers.append(LinearBottleneck(before, settings.channels(width), stride if n == 0 else 1, expansion))
            before = settings.channels(width)
    side = _halved(settings.size_px, 4)
    return Backbone(
        settings,
        *layers,
        _normed(before, last, 1),
        nn.PReLU(last),
        nn.Conv2d(last, last, side, groups=last, bias=False),
        nn.BatchNorm2d(last),
        nn.Flatten(),
        nn.Linear(last, settings.descriptor_size, bias=False),
        nn.BatchNorm1d(settings.descriptor_size),
    )


#: Backbones by name.
ARCHITECTURES: Mapping[str, Callable[[NetworkSettings], Backbone]] = {
    "ir18": lambda settings: residual(settings, (2, 2, 2, 2)),
    "ir50": lambda settings: residual(settings, (3, 4, 14, 3)),
    "mobilefacenet": mobile,
}
_KIND = NetworkKind("recognition", "synthface-recipe-recognition-1", "python -m recipes.recognition train")


def make_network(settings: NetworkSettings) -> Backbone:
    """A fresh backbone, by the global generator's state."""
    return ARCHITECTURES[settings.architecture](settings)


def save_network(folder: Path, network: Backbone, **about: Any) -> None:
    """Write weights as float32 and `config.json`, with what else is worth knowing."""
    config = {"architecture": network.settings.architecture, "settings": asdict(network.settings), **about}
    _KIND.write(folder, config, {name: value.detach().cpu() for name, value in network.state_dict().items()})


def load_network(folder: Path) -> Backbone:
    """A backbone in eval mode.

    Raises:
        GeneratorError: files are missing, damaged, or of another format.
    """
    config, sha256 = _KIND.read_config(folder, ARCHITECTURES)
    try:
        network = make_network(NetworkSettings(**config["settings"]))
        network.load_state_dict(_KIND.read_weights(folder, sha256))
    except (KeyError, TypeError) as error:
        raise _KIND.outdated(folder, error) from error
    except RuntimeError as error:
        raise _KIND.unfit(folder, error) from error
    return network.eval().requires_grad_(False)


def _normed(num_in: int, num_out: int, taps: int, stride: int = 1, *, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(num_in, num_out, taps, stride, taps // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(num_out))


def _halved(size: int, times: int) -> int:
    for _ in range(times):
        size = (size + 1) // 2
    return size
