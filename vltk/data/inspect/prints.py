"""What samples are told apart by: the sha256 of the original bytes and the difference hash of the stored pixels.

Both stand in the rows of data sets that vltk packed; what is not there is taken from the stored bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data.bar import Bar
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.hashes import dhash
from vltk.data.image import BadSample, decode
from vltk.errors import VltkError

WIDTH = 16  # bytes of a sha256 that are kept: two of a billion samples agree by chance once in 10^21
THREADS, BLOCK = os.cpu_count() or 1, 512


@dataclass(frozen=True)
class Prints:
    """By raw position, S samples: `exact` (S,) bytes that are empty where nothing is known; `look` (S,) uint64, valid
    where `has_look` (S,)."""

    dataset: Dataset
    exact: np.ndarray
    look: np.ndarray
    has_look: np.ndarray

    def __len__(self) -> int:
        return len(self.exact)

    def keys(self, positions: np.ndarray) -> dict[int, str]:
        """The keys of these samples."""
        wanted = np.zeros(len(self), bool)
        wanted[positions] = True
        return dict(_keys(self.dataset, wanted))


def take_prints(name: str) -> Prints:
    """Raises Missing when there is no such data set, VltkError when it is damaged or stored as tokens."""
    dataset = open_dataset(name, skips=False)
    if dataset.manifest.get("kind") == "tokens":
        raise VltkError(f"{name}: stored as tokens: only images and texts can be compared")
    count = len(dataset)
    found = Prints(dataset, np.zeros(count, f"S{WIDTH}"), np.zeros(count, np.uint64), np.zeros(count, bool))
    for start, table in stored_rows(dataset, ("sha256", "dhash")):
        _from_rows(found, start, table)
    absent = np.flatnonzero((found.exact == b"") | ~found.has_look)
    with Bar(f"hashes of {name}", len(absent)) as bar, ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(absent), BLOCK):
            block = absent[first : first + BLOCK].tolist()
            for position, exact, look in pool.map(lambda position: _from_sample(dataset, position), block):
                found.exact[position] = found.exact[position] or exact
                if look is not None:
                    found.look[position], found.has_look[position] = look, True
            if bar.due():
                bar.show(first + len(block), f"{first + len(block):,} samples")
    return found


def places(dataset: Dataset, keys: Collection[str]) -> dict[str, int]:
    """The raw positions of the samples with these keys, as far as the rows hold them."""
    found: dict[str, int] = {}
    for start, table in stored_rows(dataset, ("key",)):
        here = enumerate(table["key"].to_pylist(), start)
        found |= {key: position for position, key in here if key in keys}
    return found


def stored_rows(dataset: Dataset, columns: tuple[str, ...]) -> Iterator[tuple[int, Any]]:
    """Raw position of its first sample, and those of the columns that there are, for the stored rows of each shard."""
    import pyarrow.parquet as pq

    start = 0
    for entry in dataset.manifest["shards"]:
        path = dataset.folder / "rows" / f"{Path(entry['file']).stem}.parquet"
        if path.exists() and entry.get("layout", "packed") == "packed":
            have = [name for name in columns if name in pq.read_schema(path).names]
            table = pq.read_table(path, columns=[*have, "status"])
            stored = table.filter(np.array(table["status"].to_pylist(), object) == "ok")
            if len(stored) != entry["samples"]:
                raise VltkError(f"{path}: does not fit its shard: vltk data verify {dataset.name}")
            yield start, stored
        start += entry["samples"]


def _from_rows(found: Prints, start: int, table: Any) -> None:
    if "sha256" in table.column_names:
        digests = [bytes.fromhex(digest)[:WIDTH] if digest else b"" for digest in table["sha256"].to_pylist()]
        found.exact[start : start + len(table)] = digests
    if "dhash" in table.column_names:
        found.has_look[start : start + len(table)] = table["dhash"].is_valid().to_numpy()
        found.look[start : start + len(table)] = table["dhash"].fill_null(0).to_numpy().view(np.uint64)


def _from_sample(dataset: Dataset, position: int) -> tuple[int, bytes, np.uint64 | None]:
    """Position, exact print and look of a stored sample; of a sample without image its texts are compared."""
    try:
        sample = dataset.read(position)
    except BadSample:
        return position, b"", None
    if sample.image is None:
        return position, hashlib.sha256(repr(sample.texts).encode()).digest()[:WIDTH], None
    exact = hashlib.sha256(sample.image).digest()[:WIDTH]
    try:
        return position, exact, np.int64(dhash(decode(sample.image))).astype(np.uint64)
    except BadSample:
        return position, exact, None


def _keys(dataset: Dataset, wanted: np.ndarray) -> Iterator[tuple[int, str]]:
    known = np.zeros(len(wanted), bool)
    for start, table in stored_rows(dataset, ("key",)):
        here = np.flatnonzero(wanted[start : start + len(table)])
        known[start : start + len(table)] = True
        yield from zip((here + start).tolist(), table["key"].take(here).to_pylist(), strict=True)
    for position in np.flatnonzero(wanted & ~known).tolist():
        yield position, dataset.read(position).key
