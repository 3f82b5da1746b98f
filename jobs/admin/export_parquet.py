"""Write the rows of an export as Parquet, in row groups of bounded memory. It needs pyarrow, which few servers have."""

import importlib
import importlib.util
from collections.abc import Iterator
from datetime import datetime
from io import RawIOBase
from typing import Any

from jobs.admin.export_rows import Column, Row

_GROUP = 50_000  # rows
_GROUP_BYTES = 32 << 20  # of a row group before it is compressed; lists of hosts may be long


def is_available() -> bool:
    """Return whether pyarrow is installed."""
    return importlib.util.find_spec("pyarrow") is not None


class _Parts(RawIOBase):
    """A file that keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._parts = b"".join(self._parts), []
        return taken


def as_parquet(columns: list[Column], parts: Iterator[list[Row]]) -> Iterator[bytes]:
    """Yield the bytes of a Parquet file with these rows; times are in milliseconds UTC."""
    arrow = importlib.import_module("pyarrow")  # 40 MB of memory, for those who want it
    parquet = importlib.import_module("pyarrow.parquet")
    text = arrow.string()
    types = {int: arrow.int64(), float: arrow.float64(), str: text, list: arrow.list_(text)}
    types[datetime] = arrow.timestamp("ms", tz="UTC")
    schema = arrow.schema([(column.name, types[column.type]) for column in columns])
    file = _Parts()
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        batches: list[Any] = []
        for rows in parts:
            values = zip(*rows, strict=True)
            arrays = [arrow.array(each, type=kind) for each, kind in zip(values, schema.types, strict=True)]
            batches.append(arrow.record_batch(arrays, schema=schema))
            size = sum(batch.nbytes for batch in batches)
            if sum(batch.num_rows for batch in batches) >= _GROUP or size >= _GROUP_BYTES:
                writer.write_table(arrow.Table.from_batches(batches))
                batches = []
                yield file.take()
        if batches:
            writer.write_table(arrow.Table.from_batches(batches))
    yield file.take()
