"""The labelled images of one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError
from vltk.eval.datasets._contract import Item
from vltk.eval.datasets._images import Both, Images, Rows
from vltk.eval.datasets._rules import ids_sha256


@dataclass(frozen=True, eq=False)
class Samples:
    """Keys, class numbers (N,) and images in one order. `source`: the file or folder that the labels come from."""

    name: str
    keys: Sequence[str]
    labels: NDArray[np.int64]
    images: Images
    source: str
    rule: str | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def sha256(self) -> str:
        """Of the keys, each on a line of its own."""
        return ids_sha256(self.keys)

    def read(self, index: int) -> Item:
        """Raises VltkError that names the sample and the file where it cannot be read."""
        key = self.keys[index]
        try:
            return Item(key, self.images[index], label=int(self.labels[index]))
        except (VltkError, OSError) as error:
            raise VltkError(f"{self.name}, sample {key}: {error}") from error

    def part(self, name: str, chosen: NDArray[np.bool_], rule: str | None) -> Samples:
        """Those of `chosen` (N,), in the same order."""
        rows = np.flatnonzero(chosen).tolist()
        keys = [self.keys[row] for row in rows]
        return Samples(name, keys, self.labels[rows], Rows(self.images, rows), self.source, rule)

    def joined(self, name: str, other: Samples) -> Samples:
        """These, and the others after them."""
        labels, images = np.concatenate([self.labels, other.labels]), Both(self.images, other.images)
        source = ", ".join(dict.fromkeys([self.source, other.source]))
        return Samples(name, [*self.keys, *other.keys], labels, images, source, self.rule or other.rule)
