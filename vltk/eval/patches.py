"""K-means on patches of pixels: what a visual tokenizer with as many codes of as many pixels is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]

BATCH, ROUNDS = 8192, 20  # patches a step of mini-batch k-means, and most passes over all of them


@dataclass(frozen=True)
class PatchCodes:
    """A fitted k-means whose centres are the codes of square patches."""

    fitted: Any
    patch: int

    @classmethod
    def fit(cls, images: Pixels, patch: int, count: int, seed: int) -> PatchCodes:
        """`count` centres for the patches of images (n, 3, S, S), S a multiple of `patch`."""
        from sklearn.cluster import MiniBatchKMeans

        found = MiniBatchKMeans(count, batch_size=BATCH, max_iter=ROUNDS, n_init=1, random_state=seed)
        return cls(found.fit(cut(images, patch)), patch)

    def codes(self, images: Pixels) -> Ints:
        """(n, 3, S, S) -> (n, N): the nearest centre of each patch, row by row."""
        found: Ints = self.fitted.predict(cut(images, self.patch)).astype(np.int64)
        return found.reshape(len(images), -1)

    def reconstruct(self, images: Pixels) -> Pixels:
        """(n, 3, S, S) -> the same with each patch replaced by its centre."""
        pixels = np.round(255 * self.fitted.cluster_centers_[self.codes(images).ravel()].clip(0, 1))
        return joined(pixels.astype(np.uint8), images.shape[-1], self.patch)


def cut(images: Pixels, patch: int) -> Floats:
    """(n, 3, S, S) uint8 -> (n * N, 3 * patch * patch) in [0, 1], row by row."""
    count, _, size, _ = images.shape
    side = size // patch
    squares = images.reshape(count, 3, side, patch, side, patch).transpose(0, 2, 4, 1, 3, 5)
    return (squares.reshape(count * side * side, -1) / 255).astype(np.float32)


def joined(patches: Pixels, size: int, patch: int) -> Pixels:
    """The reverse of `cut`, for patches (n * N, 3 * patch * patch) uint8."""
    side = size // patch
    squares = patches.reshape(-1, side, side, 3, patch, patch).transpose(0, 3, 1, 4, 2, 5)
    return squares.reshape(-1, 3, size, size)
