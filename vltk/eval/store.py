"""Encodings kept on disk, so that no sample is encoded twice by the same weights.

An entry is the folder KEY, named by what decides its content: weights, feature, preprocessing, type, data and samples.
It holds shards of 4,096 rows (`00000.npy` ...), `index.json` (what it is made of), `keys.txt` (the sample of each row)
and, once whole, `DONE`. A stopped pass goes on behind its last whole shard; two processes that make one entry write
the same bytes, and the last one's stay.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vltk.eval.content import digest
from vltk.whole import sync

Floats = NDArray[np.float32]
Make = Callable[[int, int, Sequence[str]], Mapping[str, Floats]]  # first row, last row, names -> encodings by name

SHARD = 4096  # rows
INDEX, KEYS, DONE = "index.json", "keys.txt", "DONE"


class FeatureStore:
    """Entries below `root`, which several processes and hosts may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(
        self, facts: Mapping[str, Any], name: str, keys: Sequence[str], make: Make, also: Sequence[str] = ()
    ) -> Floats:
        """(N, D) of the feature `name` of the samples `keys`; what is not kept is made, `also` these in the same pass.

        Raises whatever `make` raises; shards that were whole before stay.
        """
        wanted = [name, *(other for other in also if other != name)]
        entries = {one: _Entry(self.root, {**facts, "feature": one}, keys) for one in wanted}
        if not entries[name].done:
            for shard in range(-(-len(keys) // SHARD)):
                first, last = shard * SHARD, min((shard + 1) * SHARD, len(keys))
                lacking = [one for one, entry in entries.items() if not entry.shard(shard).exists()]
                made = make(first, last, lacking) if lacking else {}
                for one in lacking:
                    entries[one].write(shard, made[one])
            for entry in entries.values():
                entry.finish()
        return entries[name].read()


def in_memory(name: str, rows: int, make: Make) -> Floats:
    """The same without a store."""
    parts = [make(first, min(first + SHARD, rows), [name])[name] for first in range(0, rows, SHARD)]
    return np.concatenate(parts)


class _Entry:
    """One feature of one set of samples."""

    def __init__(self, root: Path, facts: Mapping[str, Any], keys: Sequence[str]) -> None:
        self.facts, self.keys = dict(facts), keys
        self.folder = root / digest(self.facts)

    @property
    def done(self) -> bool:
        return (self.folder / DONE).exists()

    def shard(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npy"

    def write(self, number: int, rows: Floats) -> None:
        """Whole or not at all, under a name of its own until then: another process may be writing the same."""
        self.folder.mkdir(parents=True, exist_ok=True)
        final = self.shard(number)
        part = final.with_name(f"{final.name}.{os.uname().nodename}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.save(file, np.ascontiguousarray(rows, np.float32))
            sync(part)
            part.replace(final)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def finish(self) -> None:
        if not self.done:
            told = {**self.facts, "rows": len(self.keys), "shard": SHARD}
            (self.folder / INDEX).write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")
            (self.folder / KEYS).write_text("".join(f"{key}\n" for key in self.keys), encoding="utf-8")
            (self.folder / DONE).touch()

    def read(self) -> Floats:
        first = np.load(self.shard(0), mmap_mode="r")
        rows: Floats = np.empty((len(self.keys), first.shape[1]), np.float32)
        for number, start in enumerate(range(0, len(rows), SHARD)):
            rows[start : start + SHARD] = np.load(self.shard(number))
        return rows
