"""Labels that a network reads off the picture: they say what is seen, not what was asked for."""

from __future__ import annotations

import json
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from synthface.annotators.base import Annotator, TileLabels, TileView
from synthface.columns import Column, Origin, SampleFile
from synthface.shards.encode import encode_png

if TYPE_CHECKING:
    from synthface.networks.parser import Parser


@runtime_checkable
class Estimator(Annotator, Protocol):
    """An annotator whose labels depend on a network as well."""

    @property
    def sha256(self) -> str:
        """The hash of the network's weights: labels of two networks mustn't mix."""


class Parsing:
    """What is at each pixel, hair and clothes included, by the face parser that ships."""

    _NETWORK = "parser"

    def columns(self, num_dense: int) -> tuple[Column, ...]:
        """None."""
        return ()

    def files(self) -> tuple[SampleFile, ...]:
        """One file, with the names of its classes."""
        return (
            SampleFile(
                "parsing.png",
                "image/png",
                Origin.ESTIMATED,
                "Class of each pixel as the face parser sees it, 0 background; names with this file in the manifest.",
                names=tuple(self._config["classes"]),
            ),
        )

    def annotate(self, view: TileView) -> TileLabels:
        """Single-channel PNGs."""
        import torch

        pictures = torch.from_numpy(np.ascontiguousarray(view.images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with torch.no_grad():
            # One picture at a time: a sample's labels mustn't depend on its neighbours, not even by rounding.
            classes = [self._parser(picture[None])[0].argmax(dim=0) for picture in pictures]
        maps = view.crop.maps(torch.stack(classes).to(torch.uint8).numpy())
        return TileLabels(files={"parsing.png": [encode_png(each) for each in maps]})

    @property
    def sha256(self) -> str:
        """The hash of the parser's weights."""
        return str(self._config["sha256"])

    @cached_property
    def _config(self) -> dict[str, Any]:
        """What the parser's folder says; to be had without torch."""
        folder = resources.files("synthface") / "assets" / "parser" / self._NETWORK
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return config

    @cached_property
    def _parser(self) -> Parser:
        from synthface.networks.parser import load_parser

        return load_parser(self._NETWORK)
