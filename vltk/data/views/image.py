"""The image of a sample: its random crop, resized (FLAVA: flava.md section 4.3)."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft
from vltk.data.image import jitter, take
from vltk.data.randaugment import randaugment


class Image:
    """`image`: `(3, size, size)` uint8 of the sample's crop, a view of pixels that lie as `(size, size, 3)`.

    `size` is the recipe's `image.size` where not given.
    """

    needs = ("image",)

    def __init__(self, *, size: int | None = None) -> None:
        self.size = size

    def __call__(self, draft: Draft, rng: np.random.Generator) -> dict[str, np.ndarray]:
        pixels = take(draft.pixels, draft.crop, self.size or draft.image.size)
        if draft.image.color:
            pixels = jitter(pixels, draft.image.color, rng)
        if draft.image.randaugment:
            pixels = randaugment(pixels, *draft.image.randaugment, rng)
        return {"image": pixels.transpose(2, 0, 1)}
