"""Whether the rows of a data set add up: every input row once, with the statuses, samples and keys of the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data.hashes import file_sha256

NEEDED = ["row", "key", "status", "shard", "texts"]


class Rows:
    """Takes the rows file of one shard after the other, then tells what is wrong with all of them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.seen = np.zeros(total, bool)  # by row number

    def check(self, path: Path, number: int, entry: dict[str, Any], keys: list[str] | None) -> Iterator[str]:
        """What is wrong in the rows of shard `number`; `keys` are those of its tar, None when these are unknown."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not path.exists():
            yield "the file is gone"
            return
        if "rows_sha256" in entry and file_sha256(path) != entry["rows_sha256"]:
            yield "its sha256 is not that of the manifest: a byte was changed"
            return
        try:
            table = pq.read_table(path, columns=NEEDED)
        except (OSError, pa.ArrowException, KeyError) as error:
            yield f"cannot be read ({str(error).splitlines()[0]})"
            return
        statuses = Counter(table["status"].to_pylist())
        yield from _counts(table, statuses, entry)
        stored = np.array(table["status"].to_pylist(), object) == "ok"
        if wrong := int((table["shard"].to_numpy()[stored] != number).sum()):
            yield f"{wrong:,} rows of stored samples name another shard than {number}"
        if keys is not None and np.array(table["key"].to_pylist(), object)[stored].tolist() != keys:
            yield "its keys are not those of the tar, or stand in another order"
        yield from self._numbers(table["row"].to_numpy())

    def _numbers(self, rows: np.ndarray) -> Iterator[str]:
        inside = rows[(rows >= 0) & (rows < self.total)]
        if len(inside) < len(rows):
            yield f"{len(rows) - len(inside):,} row numbers beyond the {self.total:,} rows of the manifest"
        if twice := len(inside) - len(np.unique(inside)) + int(self.seen[np.unique(inside)].sum()):
            yield f"{twice:,} input rows stand here or in an earlier file already"
        self.seen[inside] = True

    def absent(self) -> str | None:
        """After all files: the input rows that stand in none of them."""
        lost = np.flatnonzero(~self.seen)
        return f"{len(lost):,} input rows have no status, the first is row {lost[0]:,}" if len(lost) else None


def _counts(table: Any, statuses: Counter[str], entry: dict[str, Any]) -> Iterator[str]:
    found = {
        "rows": len(table),
        "samples": statuses["ok"],
        "texts": int(table["texts"].to_numpy().sum()),
        "statuses": dict(statuses),
    }
    for name, count in found.items():
        if name in entry and entry[name] != count:
            yield f"{name}: {count} here, {entry[name]} in the manifest"
