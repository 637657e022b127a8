"""Whether one shard is as the manifest says: its bytes, its index, the samples that the index finds, their images."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vltk.data.hashes import file_sha256
from vltk.data.image import BadSample, decode
from vltk.data.inspect import tars
from vltk.data.members import HEAD, MAGIC, Index, Misfit, Packed, Scattered
from vltk.data.shard import ABSENT, INDEX

Finding = tuple[Path, str]  # a file, and what is wrong with it


@dataclass
class Shard:
    """One entry of a manifest; `keys` (None until the shard was found whole) and `decoded` are what `findings` saw."""

    folder: Path
    number: int
    entry: dict[str, Any]
    keys: list[str] | None = None
    decoded: int = 0

    @property
    def tar(self) -> Path:
        return self.folder / self.entry["file"]

    @property
    def index(self) -> Path:
        return self.folder / (self.entry.get("index") or f"{self.entry['file'].removesuffix('.tar')}.idx")

    def findings(self, share: float, seed: int) -> Iterator[Finding]:
        """What is wrong; `share` of the images, chosen by `seed`, is decoded."""
        wrong = list(self._files())
        yield from wrong
        if wrong:
            return
        index = self._read_index()
        if index is None:
            yield self.index, "it does not consist of whole entries"
            return
        with tars.mapped(self.tar) as tar:
            fits = tars.misfit if isinstance(index, Packed) else tars.scattered_misfit
            if what := self._counts(index) or fits(tar, index.rows):
                yield self.index, what
                return
            self.keys = tars.keys(tar, index.rows) if isinstance(index, Packed) else _keys(index)
            chosen = np.random.default_rng([seed, self.number]).random(len(index)) < share
            for row in np.flatnonzero(chosen).tolist():
                yield from self._decode(tar, index, row, self.keys[row])

    def _files(self) -> Iterator[Finding]:
        for path, wanted in ((self.tar, self.entry["sha256"]), (self.index, self.entry["index_sha256"])):
            if not path.exists():
                yield path, "the file is gone"
            elif path == self.tar and (size := path.stat().st_size) != self.entry["bytes"]:
                yield path, f"{size:,} bytes, {self.entry['bytes']:,} in the manifest: it was cut or changed"
            elif file_sha256(path) != wanted:
                yield path, "its sha256 is not that of the manifest: a byte was changed"

    def _read_index(self) -> Packed | Scattered | None:
        data = self.index.read_bytes()
        if self.entry.get("layout", "packed") == "packed":
            return Packed(data) if len(data) % INDEX.itemsize == 0 else None
        return Scattered(data) if data.startswith(MAGIC) and len(data) >= HEAD else None

    def _counts(self, index: Packed | Scattered) -> str | None:
        images = int((index.rows["image"] != ABSENT).sum())
        for name, count in (("samples", len(index)), ("images", images)):
            if self.entry.get(name, count) != count:
                return f"{name}: {count} in the index, {self.entry[name]} in the manifest"
        return None

    def _decode(self, tar: mmap.mmap, index: Index, row: int, key: str) -> Iterator[Finding]:
        try:
            sample = index.sample(row, lambda size, offset: tar[offset : offset + size])
            if sample.image is not None:
                self.decoded += 1
                decode(sample.image)
        except (Misfit, BadSample) as error:
            yield self.tar, f"sample {row} ({key}): {error}"


def _keys(index: Scattered) -> list[str]:
    return [index.key(row) for row in range(len(index))]
