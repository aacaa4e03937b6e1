"""The λ table: the factors of every training photo, as the fitting and extraction stages write it.

`lambda.parquet` has a row per photo and the columns

    key         text        names the photo
    shape       list[Ks]    identity, geometry, standard deviations
    albedo      list[Kt]    identity, skin colour, standard deviations
    expression  list[Ke]    named actions in [0, 1]
    sh          list[27]    lighting, channel-major, full coefficients
    pose_rad    list[3]     pitch, yaw, roll

and, in the schema's metadata, `expression_names` (JSON list) and `morphable_model` (its name). Further columns are left
alone. The same arrays as an `.npz` (with `expression_names` as a text array) do as well, and need no package but NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthface.errors import DatasetError
from synthface.factors.types import FactorBatch
from synthface.morphable.model import Factors
from synthface.networks.mapping import LambdaSizes

F32 = npt.NDArray[np.float32]

COLUMNS = ("shape", "albedo", "expression", "sh", "pose_rad")


@dataclass(frozen=True)
class LambdaTable:
    """λ of M photos.

    Args:
        keys: (M,) names.
        columns: column to (M, size) float32, for each of `COLUMNS`; `sh` channel-major.
        expression_names: of the columns of `expression`.
        morphable_model: name of the model that the coefficients belong to.
    """

    keys: tuple[str, ...]
    columns: Mapping[str, F32]
    expression_names: tuple[str, ...]
    morphable_model: str = ""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sizes(self) -> LambdaSizes:
        """The lengths of λ's parts."""
        return LambdaSizes(**{name: self.columns[name].shape[1] for name in ("shape", "albedo", "expression")})

    @property
    def vector(self) -> Tensor:
        """(M, total) λ, packed as `sizes` says."""
        return torch.from_numpy(np.concatenate([self.columns[name] for name in COLUMNS], axis=1))

    def factors(self) -> Factors:
        """λ as tensors."""
        return self.sizes.unpack(self.vector)

    @staticmethod
    def of(batch: FactorBatch, keys: tuple[str, ...], expression_names: tuple[str, ...], model: str) -> LambdaTable:
        """A table of sampled factors."""
        columns = {name: np.asarray(getattr(batch, name), np.float32).reshape(len(batch), -1) for name in COLUMNS}
        return LambdaTable(keys, columns, expression_names, model)


def read_table(path: str | Path) -> LambdaTable:
    """Read a λ table, Parquet or npz.

    Raises:
        DatasetError: it can't be read, lacks a column, or holds numbers that aren't finite.
    """
    path = Path(path)
    try:
        raw, meta = _read_npz(path) if path.suffix == ".npz" else _read_parquet(path)
    except OSError as error:
        raise DatasetError(
            f"{path}: can't be read ({error}); give the λ table that fitting or extraction wrote"
        ) from error
    missing = [name for name in COLUMNS if name not in raw]
    if missing:
        raise DatasetError(f"{path}: no column {', '.join(missing)}; a λ table has {', '.join(COLUMNS)}")
    columns = {name: np.asarray(raw[name], np.float32).reshape(len(raw[name]), -1) for name in COLUMNS}
    for name, size in (("sh", 27), ("pose_rad", 3)):
        if columns[name].shape[1] != size:
            raise DatasetError(f"{path}: column {name} has {columns[name].shape[1]} numbers a row, allowed: {size}")
    for name, values in columns.items():
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise DatasetError(f"{path}: column {name}, row {row} isn't finite; drop the row or fit it again")
    keys = tuple(map(str, raw["key"])) if "key" in raw else tuple(f"{n:06d}" for n in range(len(columns["shape"])))
    names = tuple(meta.get("expression_names", ())) or tuple(
        f"action_{k}" for k in range(columns["expression"].shape[1])
    )
    return LambdaTable(keys, columns, names, str(meta.get("morphable_model", "")))


def write_table(
    path: str | Path, table: LambdaTable, *, extra: Mapping[str, Any] | None = None, half: bool = False
) -> None:
    """Write a λ table, Parquet or npz by its name.

    Args:
        path: of the file.
        table: λ.
        extra: further columns of a Parquet file: text, (M,) numbers or (M, size) numbers.
        half: whether λ is stored as float16, for tables that are to be kept in a repository.
    """
    path = Path(path)
    if path.suffix == ".npz":
        meta = {
            "expression_names": np.array(table.expression_names),
            "morphable_model": np.array(table.morphable_model),
        }
        np.savez_compressed(path, key=np.array(table.keys), **dict(table.columns), **meta)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {"key": pa.array(table.keys, pa.string())}
    for name, values in table.columns.items():
        flat = pa.array(values.reshape(-1).astype(np.float16 if half else np.float32))
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    arrays |= {name: _column(values) for name, values in (extra or {}).items()}
    meta = {"expression_names": json.dumps(table.expression_names), "morphable_model": table.morphable_model}
    pq.write_table(pa.table(arrays).replace_schema_metadata(meta), path, compression="zstd")


def read_extra(path: str | Path, name: str) -> Any:
    """A further column of a Parquet table: a list of text, or float32 (M,) or (M, size).

    Raises:
        DatasetError: there is no such column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    if name not in schema.names:
        raise DatasetError(f"{path}: no column {name}; give the table that `python -m training fit` wrote")
    column = pq.read_table(path, columns=[name])[name].combine_chunks()
    if pa.types.is_string(column.type):
        return column.to_pylist()
    flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    values = np.asarray(flat.to_numpy(zero_copy_only=False), np.float32)
    return values.reshape(len(column), -1) if pa.types.is_fixed_size_list(column.type) else values


def _column(values: Any) -> Any:
    """Text, numbers (M,) or rows of numbers (M, size) as an Arrow array."""
    import pyarrow as pa

    if not isinstance(values, np.ndarray):
        return pa.array(list(values), pa.string())
    numbers = values.astype(np.float32)
    if numbers.ndim == 1:
        return pa.array(numbers)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), numbers.shape[1])


def _read_parquet(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{path}: not a Parquet file ({error})") from error
    raw: dict[str, Any] = {}
    for name in table.column_names:
        if name == "key":
            raw[name] = table[name].to_pylist()
        elif name in COLUMNS:
            column = table[name].combine_chunks()
            raw[name] = np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)
    stored = table.schema.metadata or {}
    meta = {key.decode(): value.decode() for key, value in stored.items()}
    if "expression_names" in meta:
        meta["expression_names"] = json.loads(meta["expression_names"])
    return raw, meta


def _read_npz(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(path, allow_pickle=False) as file:
        raw = {name: file[name] for name in file.files}
    meta: dict[str, Any] = {}
    if "expression_names" in raw:
        meta["expression_names"] = [str(name) for name in raw.pop("expression_names")]
    if "morphable_model" in raw:
        meta["morphable_model"] = str(raw.pop("morphable_model"))
    return raw, meta
