"""Features with their labels, as a probe is given them, and what cannot be probed, named by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

BLOCK = 8192  # rows looked at together by `check`


@dataclass(frozen=True)
class Examples:
    """features (M, D) of any float type, in memory or memory-mapped; labels (M,) class numbers; keys (M,) of samples.

    `rows` (N,) says which of them are meant, and in what order; None means all. Messages call them `name`.
    """

    features: Floats
    labels: Ints
    keys: Sequence[str] | None = None
    rows: Ints | None = None
    name: str = "the features"

    def __len__(self) -> int:
        return len(self.labels) if self.rows is None else len(self.rows)

    @property
    def width(self) -> int:
        return int(self.features.shape[1])

    @property
    def numbers(self) -> Ints:
        """(N,) class numbers."""
        return self.labels if self.rows is None else self.labels[self.rows]

    def part(self, chosen: Ints) -> Examples:
        """Those at the positions `chosen`, sorted: a file is read in its order."""
        chosen = np.sort(chosen)
        return replace(self, rows=chosen if self.rows is None else self.rows[chosen])

    def read(self, first: int, last: int) -> NDArray[np.float32]:
        """Features (last - first, D)."""
        where: Any = slice(first, last) if self.rows is None else self.rows[first:last]
        return np.asarray(self.features[where], np.float32)

    def blocks(self, size: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The first row of each block, and its features."""
        for first in range(0, len(self), size):
            yield first, self.read(first, min(first + size, len(self)))

    def check(self, classes: int | None = None) -> None:
        """Raises VltkError for shapes that do not fit, labels out of range, and features that are not finite."""
        if self.features.ndim != 2 or len(self.features) != len(self.labels) or not len(self):
            shapes = f"features {self.features.shape}, labels {self.labels.shape}"
            raise VltkError(
                f"{self.name}: a probe needs features (N, D) and labels (N,) of one or more samples; got {shapes}"
            )
        self._check_labels(classes)
        self.check_finite()

    def check_finite(self) -> None:
        """Raises VltkError that names the first sample whose features are not finite."""
        for first, block in self.blocks(BLOCK):
            finite = np.isfinite(block).all(1)
            if not finite.all():
                key = self.key(first + int(finite.argmin()))
                raise VltkError(f"{self.name}: the features of sample {key} are not finite: weights or file are broken")

    def key(self, position: int) -> str:
        """What a message calls the sample at this position."""
        row = position if self.rows is None else int(self.rows[position])
        return f"number {row}" if self.keys is None else repr(self.keys[row])

    def _check_labels(self, classes: int | None) -> None:
        numbers = self.numbers
        if not np.issubdtype(numbers.dtype, np.integer):
            raise VltkError(f"{self.name}: labels are class numbers; got {numbers.dtype}")
        outside = (numbers < 0) | (numbers >= (np.iinfo(np.int64).max if classes is None else classes))
        if outside.any():
            worst = int(outside.argmax())
            what = "negative" if classes is None else f"out of range: class numbers are 0 to {classes - 1}"
            raise VltkError(f"{self.name}: the label {numbers[worst]} of sample {self.key(worst)} is {what}")
