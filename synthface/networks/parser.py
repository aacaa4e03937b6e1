"""m(·): what is at each pixel of a picture of a face? A small network, and the classes that it tells apart.

    parser = load_parser()                               # "parser" ships; or a folder that `save_parser` wrote
    logits = parser(images)                              # (N, 3, H, W) in [−1, 1] → (N, C, H, W)
    hair = logits.softmax(dim=1)[:, parser.classes.index("hair")]

`hair` is the factory for the losses: `{"factory": "synthface.networks.parser:hair"}` in a data folder's `networks/parser.json`.

A network is a folder: `config.json` (architecture, classes, card, hash) and `model.safetensors` (weights as float16,
normalisation folded in). Source: m(·) in Deng et al. 2020, Eq. 7; the network is a U-Net after Ronneberger et al. 2015 that
works at half the picture's resolution, folded and unfolded as in Shi et al. 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthface.networks.backbones import PlainBlock, Unit, fold
from synthface.networks.folders import NetworkKind

KIND = NetworkKind("parser", "synthface-parser-1", "python -m training parser train")
DEFAULT = "parser"
#: What the network that ships tells apart. `skin` is the face with nose and ears, a beard included; `body` is neck and clothes.
CLASSES = ("background", "skin", "hair", "body", "brow", "eye", "lip", "mouth")


@dataclass(frozen=True)
class UNetConfig:
    """An architecture.

    Args:
        widths: channels at each resolution, beginning at half the picture's; each next one is half as fine.
        blocks: residual blocks at each of them on the way down.
        size_px: the longer side of what the network looks at; pictures are brought to it, and what it sees back to theirs.
    """

    widths: tuple[int, ...] = (16, 32, 48, 64, 96)
    blocks: tuple[int, ...] = (1, 1, 1, 2, 2)
    size_px: int = 128

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"{len(self.widths)} widths but {len(self.blocks)} numbers of blocks; give one of each")
        if self.size_px % self.multiple:
            raise ValueError(f"size_px is {self.size_px}; allowed: multiples of {self.multiple}")

    @property
    def multiple(self) -> int:
        """What both sides of what the network looks at are multiples of."""
        return 2 ** len(self.widths)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> UNetConfig:
        """The inverse of `to_dict`."""
        return UNetConfig(tuple(data["widths"]), tuple(data["blocks"]), data["size_px"])


class UNet(nn.Module):
    """Pictures (N, 3, H, W) in [−1, 1] to logits (N, C, H, W).

    Args:
        config: sizes.
        num_classes: C.
    """

    def __init__(self, config: UNetConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        befores = (12, *config.widths)
        self.down = nn.ModuleList(
            nn.Sequential(Unit(before, width, 3, 1 if level == 0 else 2), *(PlainBlock(width) for _ in range(num)))
            for level, ((before, width), num) in enumerate(zip(pairwise(befores), config.blocks, strict=True))
        )
        self.up = nn.ModuleList(Unit(fine + coarse, fine) for fine, coarse in pairwise(config.widths))
        self.last = nn.Conv2d(config.widths[0], 4 * num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, of any size of picture."""
        size, multiple = images.shape[-2:], self.config.multiple
        scale = self.config.size_px / max(size)
        own = [max(1, round(side * scale / multiple)) * multiple for side in size]
        return _resized(self._own_size(_resized(images, own)), size)

    def _own_size(self, images: Tensor) -> Tensor:
        x = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        for up, beside in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            coarse = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = up(torch.cat([beside, coarse], dim=1))
        return F.pixel_shuffle(self.last(x), 2)


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, and filtered against aliasing where it shrinks."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    return F.interpolate(images, size=list(size), mode="bilinear", antialias=True, align_corners=False)


#: Architecture by name: its settings, as config.json has them, and the number of classes, to a network.
ARCHITECTURES: Mapping[str, Callable[[Mapping[str, Any], int], nn.Module]] = {
    "unet": lambda settings, num_classes: UNet(UNetConfig.from_dict(settings), num_classes),
}


@dataclass(frozen=True)
class ParserConfig:
    """What a network's folder says about it.

    Args:
        name: short name.
        architecture: one of `ARCHITECTURES`.
        settings: of the architecture.
        classes: C names; one of them is `hair`.
        card: data, licence, figures.
    """

    name: str
    architecture: str
    settings: Mapping[str, Any]
    classes: tuple[str, ...]
    card: Mapping[str, Any]


class Parser(nn.Module):
    """A face parser.

    Args:
        config: what it is.
        network: pictures (N, 3, H, W) in [−1, 1] to logits (N, C, H, W).
    """

    def __init__(self, config: ParserConfig, network: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.network = network

    @property
    def classes(self) -> tuple[str, ...]:
        """The C classes by name."""
        return self.config.classes

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C, H, W) of pictures (N, 3, H, W) in [−1, 1]; made for aligned faces of 64² to 256²."""
        return self.network(images)

    def probability(self, images: Tensor, name: str) -> Tensor:
        """Probability (N, 1, H, W) of a class."""
        number = self.classes.index(name)
        return self(images).softmax(dim=1)[:, number : number + 1]


class HairParser(nn.Module):
    """m(·) of Eq. 7: the probability of hair."""

    def __init__(self, parser: Parser) -> None:
        super().__init__()
        self.parser = parser

    def forward(self, images: Tensor) -> Tensor:
        """Probability (N, 1, H, W) of hair in pictures (N, 3, H, W) in [−1, 1]; gradients pass to the pictures."""
        return self.parser.probability(images, "hair")


def new_parser(settings: UNetConfig, classes: tuple[str, ...] = CLASSES, name: str = DEFAULT) -> Parser:
    """A network to train, its weights drawn from torch's generator."""
    return Parser(ParserConfig(name, "unet", settings.to_dict(), classes, {}), UNet(settings, len(classes)))


def load_parser(source: str | Path = DEFAULT) -> Parser:
    """A face parser in eval mode, without gradient to its weights.

    Args:
        source: the name of one that ships, or a folder that `save_parser` wrote.

    Raises:
        GeneratorError: files are missing, damaged, or of another format or architecture.
    """
    with KIND.folder(source) as folder:
        return _load(folder)


def hair(data: Path, *, network: str = DEFAULT) -> HairParser:
    """The factory for a data folder's `networks/parser.json`.

    Args:
        data: the data folder.
        network: the name of a network that ships, or a folder, relative to the data folder.
    """
    inside = data / network
    return HairParser(load_parser(inside if inside.is_dir() else network))


def save_parser(folder: Path, parser: Parser) -> None:
    """Write a network: weights as float16 (normalisation must be folded in: see `backbones.fold`), and the config."""
    assert not any("running" in name for name, _ in parser.named_buffers()), "fold the normalisation before saving"
    KIND.write(folder, vars(parser.config), {name: value.half() for name, value in parser.network.state_dict().items()})


def _load(folder: Path) -> Parser:
    data, sha256 = KIND.read_config(folder, ARCHITECTURES)
    try:
        data["classes"] = tuple(map(str, data["classes"]))
        config = ParserConfig(**data)
    except (KeyError, TypeError) as error:
        raise KIND.outdated(folder, error) from error
    tensors = KIND.read_weights(folder, sha256)
    try:
        parser = Parser(config, fold(ARCHITECTURES[config.architecture](config.settings, len(config.classes))))
        parser.network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise KIND.unfit(folder, error) from error
    return parser.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
