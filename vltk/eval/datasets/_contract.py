"""What every loader of an official data set answers.

A loader is `vltk/eval/datasets/NAME.py` with one public class. The program gives it `files`, what lies in the folder
or the archives of the data set; a task card gives it the keyword options in which protocols differ. Its constructor
reads no images. Class numbers are fixed by the loader and never by the order in which files are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64] | NDArray[np.float64]


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

    name: str
    keys: Sequence[str]  # unique in the split
    labels: Labels | None  # (N,) class numbers, or scores; None where there are none

    def __len__(self) -> int: ...

    def read(self, index: int) -> Item:
        """Raises VltkError that names the sample and the file where it cannot be read."""


class Official(Protocol):
    """An official data set."""

    classes: Sequence[str]  # names by class number; empty where there are none
    splits: Sequence[str]  # the names that `split` takes

    def split(self, name: str) -> Split:
        """Raises VltkError for a name that does not exist, files that are truncated, labels that are out of range."""
