"""Memory of large batches, used again once nobody holds the batch: new memory costs more than the copy into it."""

from __future__ import annotations

import weakref
from collections import defaultdict

import numpy as np

LARGE = 2**20  # bytes; smaller arrays come from the heap, which is used again anyway


class Memory:
    """Arrays of equal size share memory one after the other, never at a time; safe between threads."""

    def __init__(self) -> None:
        self._free: dict[int, list[np.ndarray]] = defaultdict(list)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """As `np.empty`. Its memory comes back when neither the array nor any view or tensor of it is left."""
        size = int(np.prod(shape)) * dtype.itemsize
        if size < LARGE:
            return np.empty(shape, dtype)
        free = self._free[size]
        try:
            owner = free.pop()
        except IndexError:
            owner = np.empty(size, np.uint8)
        lent = np.frombuffer(owner.data, dtype)  # views of it hold it, not its owner: its base is no array
        weakref.finalize(lent, free.append, owner).atexit = False
        return lent.reshape(shape)
