"""How many images of a data set another one has too, by what the rows of both say of their samples.

Samples with the same sha256 of their original bytes are the same. Where one of them has none, those with the same key
are, as far as the stored bytes of some of them are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vltk.data import skip
from vltk.data.dataset import Dataset, dataset_folder, is_on_disk, open_dataset, read_manifest
from vltk.data.inspect.prints import WIDTH, stored_rows
from vltk.data.remote import is_remote
from vltk.errors import VltkError

LOOKED_AT = 32  # samples of equal keys, spread over all of them


def shared(name: str, other: str) -> int:
    """The samples of `name` whose images `other` has too; those of skip lists are in neither.

    Raises VltkError where it cannot be told: a data set is absent, damaged, or has no rows.
    """
    own, known = _opened(name), _Known(other)
    count, seen, pairs = 0, 0, list[tuple[int, int]]()
    for rows in _rows(own):
        same = (rows.hashes != b"") & _among(rows.hashes, known.hashes)
        count, seen = count + int(same.sum()), seen + len(same)
        left = ~same if known.lacks_hashes else rows.hashes == b""
        for number in np.flatnonzero(left).tolist():
            place = known.place(rows.keys[number], hashed=rows.hashes[number] != b"")
            pairs += [] if place is None else [(int(rows.places[number]), place)]
    _require_rows(own, seen)
    return count + _equal(own, known.dataset, pairs)


def origins(name: str) -> set[str]:
    """The data sets that it was made of by `vltk capfilt`, and those that these were made of, by name."""
    found, left = set[str](), [name]
    while left:
        one = left.pop()
        if not is_remote(one) and is_on_disk(one):
            parents = read_manifest(dataset_folder(one), one).get("source", {}).get("of", {})
            left += parents.keys() - found
            found |= parents.keys()
    return found


def _opened(name: str) -> Dataset:
    if is_remote(name):
        raise VltkError(f"{name} has no rows on this disk")
    return open_dataset(name, skips=False)


@dataclass(frozen=True)
class _Rows:
    """The samples of a shard: `places` (S,) count skipped ones too, `hashes` (S,) are empty where there is none."""

    keys: list[str]
    places: np.ndarray
    hashes: np.ndarray


class _Known:
    """A data set that another one is compared with: its hashes in order, its keys where they are asked for."""

    def __init__(self, name: str) -> None:
        self.dataset = _opened(name)
        found = [np.empty(0, f"S{WIDTH}"), *(rows.hashes for rows in _rows(self.dataset))]
        every = np.concatenate(found)
        _require_rows(self.dataset, len(every))
        self.hashes = np.unique(every[every != b""])
        self.lacks_hashes = bool((every == b"").any())

    def place(self, key: str, hashed: bool) -> int | None:
        """Of the sample with this key; not of one with a hash where the other has one too, as they differ."""
        place, has_hash = self._by_key.get(key, (None, False))
        return None if hashed and has_hash else place

    @cached_property
    def _by_key(self) -> dict[str, tuple[int, bool]]:
        return {
            key: (place, hashed)
            for rows in _rows(self.dataset)
            for key, place, hashed in zip(rows.keys, rows.places.tolist(), (rows.hashes != b"").tolist(), strict=True)
        }


def _rows(dataset: Dataset) -> Iterator[_Rows]:
    skipped, parents = skip.read(dataset.folder), tuple(f"{parent}/" for parent in origins(dataset.name))
    for start, table in stored_rows(dataset, ("key", "sha256")):
        kept = ~np.isin(np.arange(start, start + len(table)), skipped)
        keys = [_bare(key, parents) for key in table["key"].filter(kept).to_pylist()]
        yield _Rows(keys, start + np.flatnonzero(kept), np.array(list(_hashes(table)), f"S{WIDTH}")[kept])


def _require_rows(dataset: Dataset, seen: int) -> None:
    if len(dataset) and not seen:
        raise VltkError(f"{dataset.name} has no rows that tell its images")


def _hashes(table: Any) -> Iterator[bytes]:
    if "sha256" not in table.column_names:
        yield from [b""] * len(table)
        return
    yield from (bytes.fromhex(digest)[:WIDTH] if digest else b"" for digest in table["sha256"].to_pylist())


def _bare(key: str, parents: tuple[str, ...]) -> str:
    """The key in the data set that a sample came from: of several they are written as DATA/KEY."""
    parent = next((parent for parent in parents if key.startswith(parent)), "")
    return key.removeprefix(parent)


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(S,) whether each value is one of `known`, which are sorted."""
    if not len(known):
        return np.zeros(len(values), bool)
    found: np.ndarray = known[np.searchsorted(known, values).clip(max=len(known) - 1)] == values
    return found


def _equal(own: Dataset, known: Dataset, pairs: list[tuple[int, int]]) -> int:
    """How many pairs of samples have the same image, estimated from some of them where there are many."""
    if not pairs:
        return 0
    chosen = np.unique(np.linspace(0, len(pairs) - 1, LOOKED_AT).astype(int)).tolist()
    equal = sum(own.read(pairs[number][0]).image == known.read(pairs[number][1]).image for number in chosen)
    return round(len(pairs) * equal / len(chosen))
