"""Whether two pictures are the same, once their difference hashes are near: by their colours at 16 x 16 pixels.

A hash says too little for millions of pictures: of the 7.2 million pairs of 3,800 photos of Flickr8k, 9 different ones
are within 8 bits and 1,500 within 14. The thumbnails of the 9 differ by 27 or more, of the others by 16 (but for one
pair, 10); those of copies at two thirds of the size and JPEG quality 40 by at most 2, those of copies cut by 2.5 % at
each side by 7 (median) to 14.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from vltk.data.dataset import Dataset
from vltk.data.image import BadSample, decode

SIDE = 16  # pixels
MOST = 12.0  # mean difference, of 255, up to which two thumbnails are of one picture
KEPT = 1 << 17  # thumbnails in memory, 100 MB
PAIRS = 1 << 14  # compared at once
Positions = NDArray[np.int64]


class SecondLook:
    """`same(later, earlier)` for positions over all data sets, in their order."""

    def __init__(self, datasets: Sequence[Dataset], starts: NDArray[np.int64]) -> None:
        self.datasets, self.starts = datasets, starts
        self._kept: dict[int, NDArray[np.uint8] | None] = {}

    def same(self, later: Positions, earlier: Positions) -> NDArray[np.bool_]:
        """Pair by pair `(P,)`; a stored image that does not decode is like no other."""
        agreed = np.zeros(len(later), bool)
        for first in range(0, len(later), PAIRS):
            pairs = slice(first, first + PAIRS)
            agreed[pairs] = self._same(later[pairs], earlier[pairs])
        return agreed

    def _same(self, later: Positions, earlier: Positions) -> NDArray[np.bool_]:
        seen, which = np.unique(np.concatenate([later, earlier]), return_inverse=True)
        found = self._thumbnails(seen.tolist())
        good = np.array([thumbnail is not None for thumbnail in found], bool)
        blank = np.zeros((SIDE, SIDE, 3), np.uint8)
        pixels = np.array([blank if thumbnail is None else thumbnail for thumbnail in found]).astype(np.int16)
        left, right = which[: len(later)], which[len(later) :]
        apart = np.abs(pixels[left] - pixels[right]).mean((1, 2, 3)) if len(later) else np.empty(0)
        agreed: NDArray[np.bool_] = (apart <= MOST) & good[left] & good[right]
        return agreed

    def _thumbnails(self, positions: list[int]) -> list[NDArray[np.uint8] | None]:
        absent = [position for position in positions if position not in self._kept]
        if absent:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self._kept |= zip(absent, pool.map(self._thumbnail, absent), strict=True)
        found = [self._kept[position] for position in positions]
        for oldest in list(self._kept)[: max(len(self._kept) - KEPT, 0)]:
            del self._kept[oldest]
        return found

    def _thumbnail(self, position: int) -> NDArray[np.uint8] | None:
        """`(16, 16, 3)`, None for an image that does not decode."""
        number = int(np.searchsorted(self.starts, position, side="right")) - 1
        try:
            image = self.datasets[number].read(position - int(self.starts[number])).image
            pixels = decode(image) if image is not None else None
        except BadSample:
            return None
        if pixels is None:
            return None
        return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)
