"""Samples to a batch: equal shapes are stacked, texts of different lengths are padded to the longest and a little more.

On a CPU oneDNN makes its kernels anew for each length that attention meets, and matrix units of a GPU take eights.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vltk.data.memory import Memory

if TYPE_CHECKING:
    from torch import Tensor

EIGHTS = 8  # tokens: in a stream, texts of different lengths are padded to multiples of it
_MEMORY = Memory()


@dataclass(frozen=True)
class Batch:
    """One micro-batch: each tensor has `size` rows; `keys` are the names of the samples ("data set/key")."""

    tensors: dict[str, Tensor]
    keys: list[str]
    size: int


class Filling:
    """A batch of `size` samples in the making: large views are written to their row as soon as a sample is made, by its
    own thread and while they are in the processor's cache. Safe between threads that put different rows."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._large: dict[str, np.ndarray] = {}
        self._small: list[dict[str, np.ndarray]] = [{} for _ in range(size)]
        self._lock = Lock()

    def put(self, row: int, views: dict[str, np.ndarray]) -> None:
        """The views of one sample; those of one name have one shape, or one dimension."""
        for name, array in views.items():
            if array.ndim == 1:
                self._small[row][name] = array
            else:
                _write(array, self._rows(name, array), row)

    def _rows(self, name: str, array: np.ndarray) -> np.ndarray:
        rows = self._large.get(name)
        if rows is None:
            with self._lock:
                rows = self._large.get(name)
                if rows is None:
                    rows = self._large[name] = _MEMORY.empty((self.size, *array.shape), array.dtype)
        return rows

    def batch(self, keys: list[str], pad: int, most: int) -> Batch:
        """The whole batch. 1-D views may differ in length: ids are padded with `pad`, flags with False, as long as
        `padded_length` says; most: tokens of the longest text that there may be."""
        import torch

        small = {name: self._padded(name, pad, most) for name in self._small[0]}
        return Batch({name: torch.from_numpy(rows) for name, rows in {**small, **self._large}.items()}, keys, self.size)

    def _padded(self, name: str, pad: int, most: int) -> np.ndarray:
        arrays = [sample[name] for sample in self._small]
        return _rows(arrays, pad, padded_length([len(array) for array in arrays], most))


def padded_length(lengths: list[int], most: int) -> int:
    """Tokens that a stream pads texts of these lengths to: the longest, and where they differ on to a multiple of
    `EIGHTS`, though not beyond `most`."""
    longest = max(lengths)
    if min(lengths) == longest:
        return longest
    return max(longest, min(-(-longest // EIGHTS) * EIGHTS, most))


def padded(texts: list[np.ndarray], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids of B texts -> ids (B, T), T the longest, and lengths (B,)."""
    import torch

    lengths = [len(ids) for ids in texts]
    return torch.from_numpy(_rows(texts, pad, max(lengths))), torch.tensor(lengths)


def _rows(arrays: list[np.ndarray], pad: int, width: int) -> np.ndarray:
    """`(B, width)` of B arrays `(t,)` that are no longer."""
    first = arrays[0]
    fill = False if first.dtype == bool else pad
    rows = np.full((len(arrays), width), fill, dtype=first.dtype)
    for row, array in zip(rows, arrays, strict=True):
        row[: len(array)] = array
    return rows


def _write(array: np.ndarray, rows: np.ndarray, row: int) -> None:
    """Pixels that lie in memory as `(H, W, 3)` become planes eight times faster than by numpy."""
    if array.dtype == np.uint8 and array.ndim == 3 and len(array) == 3 and array.transpose(1, 2, 0).flags.c_contiguous:
        cv2.split(array.transpose(1, 2, 0), [rows[row, 0], rows[row, 1], rows[row, 2]])
    else:
        rows[row] = array
