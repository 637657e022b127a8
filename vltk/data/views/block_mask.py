"""BEiT's block-wise image masks (arXiv 2106.08254, algorithm 1; flava.md section 2.3)."""

from __future__ import annotations

import math

import numpy as np

from vltk.data.draft import Draft, Draws

ATTEMPTS = 10  # tries for one block before the mask is taken as it is


class BlockMask:
    """`image_masked_at`: `(h * w,)` bool, at most `max_masked` True, in blocks of about `min_block` patches or more."""

    needs = ()

    def __init__(
        self, *, grid: tuple[int, int] = (14, 14), max_masked: int = 75, min_block: int = 16, aspect: float = 0.3
    ) -> None:
        self.grid, self.max_masked, self.min_block = grid, max_masked, min_block
        self.log_aspect = math.log(aspect)

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        return {"image_masked_at": self.draw(draws())}

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One mask, `(h * w,)` bool."""
        mask = np.zeros(self.grid, dtype=bool)
        left = self.max_masked
        while left > 0:
            added = self._add_block(mask, left, rng)
            if not added:
                break
            left -= added
        return mask.reshape(-1)

    def _add_block(self, mask: np.ndarray, left: int, rng: np.random.Generator) -> int:
        """Mask one more block with 1 to `left` new patches; the number of new ones, 0 when every attempt failed."""
        height, width = self.grid
        for size, shape, down, right in rng.random((ATTEMPTS, 4)).tolist():
            area = self.min_block + size * (left - self.min_block)  # left < min_block: bounds reversed, as in BEiT
            ratio = math.exp(self.log_aspect * (1 - 2 * shape))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h >= height or w >= width:
                continue
            top, start = int(down * (height - h + 1)), int(right * (width - w + 1))
            block = mask[top : top + h, start : start + w]
            new = h * w - int(np.count_nonzero(block))
            if 0 < new <= left:
                block[...] = True
                return new
        return 0
