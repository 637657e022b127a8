"""What every loader of an official data set answers.

A loader is `vltk/eval/datasets/NAME.py` with one public class. The program gives it `files`, what lies in the folder
or the archives of the data set; a task card gives it the keyword options in which protocols differ. Its constructor
reads no images. Class numbers are fixed by the loader and never by the order in which files are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64] | NDArray[np.float64]


class Files(Protocol):
    """What lies in the folder and the archives of a data set, by the paths of its official layout. Safe to read from
    many threads."""

    def exists(self, path: str) -> bool: ...

    def names(self, pattern: str) -> list[str]:
        """The paths of the files that fit, sorted; `*` stands for folders as well."""

    def read(self, path: str) -> bytes: ...

    def open(self, path: str) -> BinaryIO: ...

    def require(self, *paths: str) -> None:
        """Raises Missing with every path that is absent, and what to type."""


@dataclass(frozen=True)
class Item:
    """One sample. `image`: encoded bytes, or pixels (H, W, 3) uint8; `facts`: what else its task needs, as answers."""

    key: str
    image: bytes | Pixels | None = None
    texts: tuple[str, ...] = ()
    label: int | float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Split(Protocol):
    """The samples of one official split, in a fixed order. Safe to read from many threads."""

    @property
    def name(self) -> str: ...

    @property
    def keys(self) -> Sequence[str]:
        """Unique in the split."""

    @property
    def labels(self) -> Labels | None:
        """(N,) class numbers, or scores; None where there are none."""

    @property
    def rule(self) -> str | None:
        """The rule of ours that chose the samples; None where the official files say it."""

    @property
    def sha256(self) -> str:
        """Of the keys, each followed by a line feed: which samples these are, for results."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Item:
        """Raises VltkError that names the sample and the file where it cannot be read."""


class Official(Protocol):
    """An official data set. Its option `nonstandard` lets counts pass that are not the official ones."""

    @property
    def classes(self) -> Sequence[str]:
        """Names by class number; empty where there are none."""

    @property
    def splits(self) -> Sequence[str]:
        """The names that `split` takes."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Official samples of each split, and `classes`, for the options chosen."""

    def split(self, name: str) -> Split:
        """Raises VltkError for a name that does not exist, files that are truncated, labels that are out of range,
        another count than the official one (`nonstandard` lets it pass)."""
