"""The rows of a shard: one for every input row, with its status, as a parquet file that is written piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vltk.data.caption import storable

REQUIRED = {  # of every row: name to pyarrow's type
    "row": "int64",  # number of the input row, from 0, over the whole input
    "key": "string",
    "status": "string",  # a word of `vltk.data.statuses`
    "detail": "string",
    "shard": "int64",  # -1 without a sample
    "texts": "int64",
}
COLUMNS = REQUIRED | {
    "url": "string",
    "caption": "string",  # as it came, where it differs from what is stored; several as a JSON list
    "width": "int32",  # in pixels, as stored
    "height": "int32",
    "original_width": "int32",
    "original_height": "int32",
    "bytes": "int64",  # of the original
    "sha256": "string",  # of the original bytes
    "dhash": "int64",  # difference hash of the stored pixels, 64 bits
}
TEXTS = {name for name, kind in COLUMNS.items() if kind == "string"}
PIECE = 4096  # rows held in memory

if TYPE_CHECKING:  # pyarrow takes a while to import
    import pyarrow as pa


def schema() -> pa.Schema:
    """The columns of every rows parquet."""
    import pyarrow as pa

    fields = [pa.field(name, pa.type_for_alias(kind), name not in REQUIRED) for name, kind in COLUMNS.items()]
    return pa.schema(fields)


class RowTable:
    """Rows in, a parquet file out. Rows of equal content give equal bytes."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._schema = schema()
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._held: list[dict[str, Any]] = []
        self.count = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Raises ValueError for a column that there is not."""
        unknown = row.keys() - COLUMNS.keys()
        if unknown:
            raise ValueError(f"rows have no column {', '.join(sorted(unknown))}; have: {', '.join(COLUMNS)}")
        texts = {name: storable(row[name]) for name in TEXTS & row.keys() if row[name] is not None}
        self._held.append({**row, **texts})
        self.count += 1
        if len(self._held) == PIECE:
            self._write()

    def close(self) -> None:
        if self._held:
            self._write()
        self._file.close()

    def _write(self) -> None:
        import pyarrow as pa

        self._file.write_table(pa.Table.from_pylist(self._held, schema=self._schema))
        self._held = []
