"""Clean rows on disk, in pieces: what is fetched, what was put aside, what is tried again.

`urls/NNNNN.parquet` holds the usable rows of a piece, `rejected/NNNNN.parquet` the rows put aside before or among them
(behind the last piece: one number more), `quarantine/rows.jsonl` the same as text, by file and line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from vltk.data.caption import decoded
from vltk.data.fetch.lists import Line
from vltk.whole import sync

CLEAN = {"row": "int64", "url": "string", "caption": "string", "original": "string"}
REJECTED = {"row": "int64", "url": "string", "caption": "string", "status": "string", "detail": "string"}
HELD = 4096  # rows in memory before they are written
SHOWN = 500  # characters of a line in the quarantine


class Clean(NamedTuple):
    """A usable row: `caption` as it will be stored (None: without), `original` as it came where that differs."""

    row: int
    url: str
    caption: str | None
    original: str | None


class Reject(NamedTuple):
    """A row that is not, or no longer, fetched, and why; `caption` as it came."""

    row: int
    url: str | None
    caption: str | None
    status: str
    detail: str


@dataclass
class Cleaned:
    """Rows in all, usable ones, pieces, and how many were put aside for which reason."""

    rows: int = 0
    usable: int = 0
    pieces: int = 0
    statuses: Counter[str] = field(default_factory=Counter)


class PieceWriter:
    """Rows in, pieces of `piece` usable rows out, below `folder`."""

    def __init__(self, folder: Path, piece: int) -> None:
        self.folder, self.piece, self.found = folder, piece, Cleaned()
        self._urls: Table | None = None
        self._rejected: Table | None = None
        self._quarantine: TextIO | None = None

    def keep(self, row: Clean) -> None:
        self.found.rows += 1
        self.found.usable += 1
        if self._urls is None:
            self._urls = Table(self._path("urls"), CLEAN)
        self._urls.add(row)
        if self._urls.count == self.piece:
            self._end()

    def put_aside(self, row: Reject, file: str, line: Line) -> None:
        self.found.rows += 1
        self.found.statuses[row.status] += 1
        if self._rejected is None:
            self._rejected = Table(self._path("rejected"), REJECTED)
        self._rejected.add(row)
        if self._quarantine is None:
            self._quarantine = self._path("quarantine").with_name("rows.jsonl").open("w", encoding="utf-8")
        text = decoded(line.text)[:SHOWN]
        facts = {"row": row.row, "file": file, "line": line.number, "status": row.status, "detail": row.detail}
        self._quarantine.write(json.dumps({**facts, "text": text}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """All files are then on disk."""
        self._end()
        if self._quarantine is not None:
            self._quarantine.close()
            sync(self.folder / "quarantine" / "rows.jsonl")

    def _end(self) -> None:
        self.found.pieces += self._urls is not None
        for table in (self._urls, self._rejected):
            if table is not None:
                table.close()
        self._urls = self._rejected = None

    def _path(self, kind: str) -> Path:
        path = self.folder / kind / f"{self.found.pieces:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Table:
    """Named tuples in, a parquet file out; at most HELD of them in memory."""

    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        self._schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._held: list[tuple[Any, ...]] = []
        self.count = 0

    def add(self, row: tuple[Any, ...]) -> None:
        self._held.append(row)
        self.count += 1
        if len(self._held) == HELD:
            self._write()

    def close(self) -> None:
        if self._held:
            self._write()
        self._file.close()
        sync(self._path)

    def _write(self) -> None:
        import pyarrow as pa

        columns = zip(zip(*self._held, strict=True), self._schema, strict=True)
        self._file.write_table(pa.table([pa.array(cells, field.type) for cells, field in columns], self._schema))
        self._held = []


def write_clean(rows: Iterable[Clean], folder: Path, piece: int) -> Cleaned:
    """Clean rows as pieces below `folder`."""
    writer = PieceWriter(folder, piece)
    try:
        for row in rows:
            writer.keep(row)
    finally:
        writer.close()
    return writer.found


def read_clean(folder: Path, number: int) -> Iterator[Clean]:
    """The usable rows of one piece in order."""
    for row in read_table(folder / "urls" / f"{number:05d}.parquet"):
        yield Clean(**row)


def read_rejected(folder: Path, number: int) -> Iterator[Reject]:
    """The rows put aside at one piece in order; none where there is no such file."""
    path = folder / "rejected" / f"{number:05d}.parquet"
    for row in read_table(path) if path.exists() else ():
        yield Reject(**row)


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file, a batch of them in memory."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(HELD):
            yield from batch.to_pylist()
