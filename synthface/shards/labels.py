"""Labels as Parquet: one table per shard, one joined over the dataset, and both as a pandas frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synthface.columns import Column, Origin
from synthface.errors import DatasetError
from synthface.storage import Store, open_store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Rows per row group, whatever the tile: part of the bytes.
ROW_GROUP = 2048
#: For `read_table` of a Python file: a thread of Arrow's own that still holds it when the interpreter ends aborts the process.
IN_THIS_THREAD: Mapping[str, bool] = {"use_threads": False, "pre_buffer": False}
_CODEC = {"compression": "zstd", "compression_level": 3}


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The table's schema; each field's metadata holds unit, frame, origin, shape and description."""
    import pyarrow as pa

    types = {
        "int64": pa.int64(),
        "int32": pa.int32(),
        "uint8": pa.uint8(),
        "float32": pa.float32(),
        "bool": pa.bool_(),
        "string": pa.string(),
    }

    def field(column: Column) -> pa.Field:
        kind = types[column.dtype]
        if column.shape:
            kind = pa.list_(kind, int(np.prod(column.shape)))
        about = {
            "unit": column.unit,
            "frame": column.frame,
            "origin": column.origin.value,
            "shape": "×".join(map(str, column.shape)),
            "description": column.description,
        }
        return pa.field(column.name, kind, nullable=False, metadata={k: v for k, v in about.items() if v})

    return pa.schema([field(column) for column in columns])


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """The declaration that `schema_of` wrote."""
    import pyarrow as pa

    result = []
    for field in schema:
        about = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        shape = tuple(int(size) for size in about["shape"].split("×")) if "shape" in about else ()
        kind = field.type.value_type if shape else field.type
        dtype = {"float": "float32", "halffloat": "float32"}.get(str(kind), str(kind))
        result.append(
            Column(
                field.name,
                dtype,  # type: ignore[arg-type]
                Origin(about["origin"]),
                about.get("description", ""),
                shape,
                about.get("unit", ""),
                about.get("frame", ""),
            )
        )
        assert pa.types.is_fixed_size_list(field.type) == bool(shape), field
    return tuple(result)


def values_of(column: pa.ChunkedArray, declared: Column) -> npt.NDArray[Any]:
    """A table's column as (N, …), the way its declaration shapes it."""
    combined = column.combine_chunks()
    if declared.shape:
        flat = combined.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(len(combined), *declared.shape))
    return np.asarray(combined.to_numpy(zero_copy_only=False))


class LabelWriter:
    """A Parquet file that grows tile by tile and holds at most one row group in memory."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        import pyarrow.parquet as pq

        self._columns = columns
        self._schema = schema_of(columns)
        self._writer: pq.ParquetWriter = pq.ParquetWriter(path, self._schema, **_CODEC)
        self._waiting: list[Mapping[str, npt.NDArray[Any]]] = []
        self._num_waiting = 0

    def add(self, values: Mapping[str, npt.NDArray[Any]], count: int) -> None:
        """Append `count` rows: column name to (count, …)."""
        self._waiting.append({column.name: values[column.name] for column in self._columns})
        self._num_waiting += count
        while self._num_waiting >= ROW_GROUP:
            self._flush(ROW_GROUP)

    def close(self) -> None:
        """Write what is left and finish the file."""
        if self._num_waiting:
            self._flush(self._num_waiting)
        self._writer.close()

    def abandon(self) -> None:
        """Close the file without finishing it."""
        self._writer.close()

    def _flush(self, count: int) -> None:
        import pyarrow as pa

        joined = {c.name: np.concatenate([tile[c.name] for tile in self._waiting]) for c in self._columns}
        arrays = [
            _arrow(joined[c.name][:count], field.type) for c, field in zip(self._columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=ROW_GROUP)
        self._num_waiting -= count
        self._waiting = [{name: values[count:] for name, values in joined.items()}] if self._num_waiting else []


def _arrow(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(values).ravel(), kind.value_type), kind.list_size
        )
    return pa.array(values, kind)


def join_labels(store: Store, names: Iterable[str], target: Path) -> int:
    """Write the shards' tables `names` end to end into the local file `target`; returns the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, rows = None, 0
    try:
        for name in names:
            with store.open(name) as file:
                table = pq.ParquetFile(pa.PythonFile(file, mode="r"))
                for group in range(table.num_row_groups):
                    part = table.read_row_group(group)
                    writer = writer or pq.ParquetWriter(target, part.schema, **_CODEC)
                    writer.write_table(part)
                    rows += part.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def labels(dataset: str | Path, *, split: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """All labels of a dataset as a pandas frame, one row per sample; array labels are cells of nested arrays.

    Args:
        dataset: the folder or URL that `render` wrote.
        split: only this split.
        columns: only these columns.

    Raises:
        DatasetError: there is no finished dataset, or it has no such split or column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    store = open_store(dataset)
    try:
        with store.open("labels.parquet") as file:
            table_file: pq.ParquetFile = pq.ParquetFile(pa.PythonFile(file, mode="r"))
            known = table_file.schema_arrow.names
            missing = [name for name in columns or () if name not in known]
            if missing:
                raise DatasetError(f"{store.url}: no label {missing[0]!r}; allowed: {', '.join(known)}")
            wanted = None if columns is None else list(dict.fromkeys([*columns, "split"]))
            table = table_file.read(columns=wanted)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{store.url}: no labels.parquet there: not a finished dataset; run its `synthface render` again"
        ) from error
    if split is not None:
        splits = sorted(set(table.column("split").to_pylist()))
        if split not in splits:
            raise DatasetError(f"{store.url}: no split {split!r}; allowed: {', '.join(splits)}")
        import pyarrow.compute as pc

        table = table.filter(pc.equal(table.column("split"), split))
    frame: pd.DataFrame = table.to_pandas()
    for column in columns_of(table.schema):
        if len(column.shape) > 1:
            nested: Any = [np.asarray(cell).reshape(column.shape) for cell in frame[column.name]]
            frame[column.name] = nested
    return frame[list(columns)] if columns is not None else frame
