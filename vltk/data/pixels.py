"""Decoded images kept in memory, so that a small data set is decoded once and not in every epoch."""

from __future__ import annotations

from threading import Lock

import numpy as np

from vltk.data.dataset import Dataset, Sample
from vltk.data.image import BadSample, decode

BUDGET = 512 * 2**20  # bytes


class PixelCache:
    """Decodes samples and keeps the pixels until the budget is full; nothing is dropped.

    Each epoch is a permutation, so dropping the oldest would keep nothing useful, while keeping the first ones saves
    their share of all decodes. Results do not depend on what is kept.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = self.left = budget
        self._kept: dict[tuple[str, int], np.ndarray] = {}
        self._lock = Lock()

    @property
    def held(self) -> int:
        """Bytes of the pixels that are kept."""
        return self.budget - self.left

    def decoded(self, dataset: Dataset, index: int, sample: Sample) -> np.ndarray:
        """`(H, W, 3)` uint8, not to be changed. Raises BadSample."""
        key = (dataset.digest, index)
        pixels = self._kept.get(key)
        if pixels is None:
            if sample.image is None:
                raise BadSample("no image")
            pixels = decode(sample.image)
            self._keep(key, pixels)
        return pixels

    def _keep(self, key: tuple[str, int], pixels: np.ndarray) -> None:
        with self._lock:
            if pixels.nbytes <= self.left and key not in self._kept:
                self.left -= pixels.nbytes
                self._kept[key] = pixels
