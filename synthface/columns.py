"""What a label column is. Sampling, annotators, shards, cards and the README's label reference all speak in these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Origin(str, Enum):
    """Where a label's value comes from."""

    PLANNED = "planned"  # bookkeeping: which row, identity, split
    REQUESTED = "requested"  # from the spec's distributions: what the generator was asked for
    RENDERED = "rendered"  # from the morphable model: geometry that belongs to the requested factors
    ESTIMATED = "estimated"  # from the image, by a network


DType = Literal["int64", "int32", "uint8", "float32", "bool", "string"]


@dataclass(frozen=True)
class Column:
    """One label of every sample, scalar or a fixed-size array.

    Args:
        name: stable name, the same in the sample's JSON and in the Parquet tables; its unit is its suffix.
        dtype: the type of its elements.
        shape: () for a scalar, (68, 2) for 68 points; Parquet stores it flat and row-major, JSON nested.
        unit: degree, px, dm, … or `""`.
        frame: `camera`, `image`, `head` or `""`: the axes it is counted in.
        origin: where its value comes from.
        description: one sentence, with sign and origin of the axes where it has them.
    """

    name: str
    dtype: DType
    origin: Origin
    description: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    frame: str = ""


@dataclass(frozen=True)
class SampleFile:
    """One file of every sample inside a shard, besides `json` and `cls`.

    Args:
        extension: lower-case, what follows the key: `jpg`, `seg.png`, `depth.npy`.
        media_type: its MIME type, for the dataset's metadata.
        origin: where its content comes from.
        description: one sentence with unit, frame, value range and the meaning of special values.
        names: what the numbers in it mean, 0 first, where it holds classes of its own.
    """

    extension: str
    media_type: str
    origin: Origin
    description: str
    names: tuple[str, ...] = ()


def check_unique(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns as a tuple; two of one name are a bug of ours."""
    result = tuple(columns)
    names = [column.name for column in result]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
    return result
