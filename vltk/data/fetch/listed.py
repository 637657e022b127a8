"""The files of a URL list, here and in a form that `vltk.data.fetch.lists` reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from vltk import parts
from vltk.data.card_schema import UrlList
from vltk.data.fetch.archives import unpack
from vltk.data.fetch.files import bring
from vltk.data.fetch.policy import Policy

ROWS = 100_000  # of a row group
MAX_UNPACKED = 1 << 38  # bytes


def bring_list(fetcher: UrlList, folder: Path, policy: Policy) -> tuple[list[Path], UrlList]:
    """The lists below `folder` (a path of this machine stays where it is), and what describes them now.

    Raises VltkError: what cannot be downloaded, a damaged archive, files that the reader does not know.
    """
    files = bring(fetcher.files, folder, policy)
    if fetcher.unpack is not None:
        files = [path for file in files for path in _unpacked(file, folder, fetcher.unpack)]
    if fetcher.reader is None:
        return files, fetcher
    path = folder / f"{fetcher.reader}.parquet"
    if not path.exists():
        reader = parts.choose("data/sources", fetcher.reader).build(files=files)
        _write(reader.rows(), path)
    plain: dict[str, Any] = {"reader": None, "unpack": None, "form": "parquet", "header": True, "columns": []}
    return [path], fetcher.model_copy(update=plain | {"url": "url", "caption": ["caption"]})


def _unpacked(file: Path, folder: Path, pattern: str) -> list[Path]:
    return unpack(file, folder / f"{file.name}.unpacked", pattern, MAX_UNPACKED)


def _write(rows: Iterator[dict[str, Any]], path: Path) -> None:
    """Columns `url` and `caption`, in order; few rows in memory. Values that are no text become null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("url", pa.string()), ("caption", pa.string())])
    part = path.with_name(f"{path.name}.part")
    with pq.ParquetWriter(part, schema, compression="zstd") as writer:
        while held := [_texts(row) for row in islice(rows, ROWS)]:
            writer.write_table(pa.Table.from_pylist(held, schema=schema))
    part.rename(path)


def _texts(row: dict[str, Any]) -> dict[str, str | None]:
    from vltk.data.caption import storable

    return {name: storable(row[name]) if isinstance(row.get(name), str) else None for name in ("url", "caption")}
