"""The skip list of a data set: samples that streams leave out, as `vltk data dedup` found them. Nothing is deleted.

`NAME/skip.parquet` has one row a skipped sample: `index` (raw position, counted before anything is left out), `key`,
`reason` (exact, near), `of` (the sample it repeats, as dataset/key) and `distance` (bits of the difference hash).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vltk.errors import VltkError

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "skip.parquet"
CONTENT = b"vltk.content"  # schema metadata: which content of the data set the positions count in


COLUMNS = ("index", "key", "reason", "of", "distance")


@dataclass(frozen=True, order=True)
class Skip:
    """One sample to leave out."""

    index: int
    key: str
    reason: str
    of: str
    distance: int


def read(folder: Path) -> np.ndarray:
    """Raw positions of the skipped samples, sorted int64 `(S,)`; empty without a list.

    Raises VltkError for a list that cannot be read or that was made for other content of the data set.
    """
    if not (folder / FILE).exists():
        return np.empty(0, np.int64)
    return np.sort(read_table(folder)["index"].to_numpy().astype(np.int64))


def read_table(folder: Path) -> pa.Table:
    """All columns of the list in `folder`. Raises VltkError as `read` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / FILE
    try:
        table = pq.read_table(path)
        missing = [name for name in COLUMNS if name not in table.column_names]
    except (OSError, pa.ArrowException) as error:
        raise VltkError(f"{path}: no skip list ({str(error).splitlines()[0]}): {_again(folder)}") from None
    if missing:
        raise VltkError(f"{path}: no skip list (no column {', '.join(missing)}): {_again(folder)}")
    if (table.schema.metadata or {}).get(CONTENT) != content(folder):
        raise VltkError(f"{path}: made for other content of this data set: {_again(folder)}")
    return table


def write(folder: Path, skips: Iterable[Skip]) -> None:
    """The list of this data set, in place of the one before; whole or not at all. No skips: no list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = sorted(astuple(row) for row in skips)
    if not rows:
        undo(folder)
        return
    text, whole = pa.string(), pa.int64()
    types = dict(zip(COLUMNS, (whole, text, text, text, whole), strict=True))
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), types.values(), strict=True)]
    schema = pa.schema(types, metadata={CONTENT: content(folder)})
    part = folder / f".{FILE}.part"
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(folder / FILE)


def undo(folder: Path) -> bool:
    """Removes the list; whether there was one."""
    there = (folder / FILE).exists()
    (folder / FILE).unlink(missing_ok=True)
    return there


def content(folder: Path) -> bytes:
    """What the positions of this data set count in: a hash of the shards that its manifest names."""
    shards = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["shards"]
    facts = [[shard["samples"], shard.get("sha256"), shard.get("index_sha256")] for shard in shards]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest().encode()


def _again(folder: Path) -> str:
    return f"make it again with vltk data dedup, or remove it: rm {folder / FILE}"
