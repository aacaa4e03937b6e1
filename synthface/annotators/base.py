"""What an annotator is, and what it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from synthface.columns import Column, SampleFile
from synthface.crops import Crop

if TYPE_CHECKING:
    from synthface.morphable.scene import Scene


@dataclass(frozen=True)
class TileView:
    """A tile of N samples as labels see it.

    Args:
        scene: in the generator's view.
        crop: the way from the view to the picture.
        images: (N, H, W, 3) what the generator drew: the view, before crop and degradations.
    """

    scene: Scene
    crop: Crop
    images: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TileLabels:
    """An annotator's labels of a tile.

    Args:
        columns: column name to values (N, …).
        files: file extension to each sample's bytes.
    """

    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    files: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


class Annotator(Protocol):
    """Reads one kind of label off a tile. Must depend on the tile alone, and treat each sample by itself."""

    def columns(self, num_dense: int) -> tuple[Column, ...]:
        """The columns it fills; `num_dense` is the morphable model's number of dense landmarks."""

    def files(self) -> tuple[SampleFile, ...]:
        """The files it adds to every sample."""

    def annotate(self, view: TileView) -> TileLabels:
        """The labels of a tile: every declared column and file, nothing else."""
