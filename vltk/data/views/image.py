"""The image of a sample: its random crop, resized (FLAVA: flava.md section 4.3)."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws
from vltk.data.image import ImageLike, jitter, take
from vltk.data.randaugment import randaugment


class Image:
    """`image`: `(3, size, size)` uint8 of the sample's crop, a view of pixels that lie as `(size, size, 3)`.

    `size` is the recipe's `image.size` where not given.
    """

    needs = ("image",)

    def __init__(self, *, size: int | None = None) -> None:
        self.size = size

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        pixels = take(draft.pixels, draft.crop, self.size or draft.image.size)
        if draft.image.color or draft.image.randaugment:
            pixels = _changed(pixels, draft.image, draws())
        return {"image": pixels.transpose(2, 0, 1)}


def _changed(pixels: np.ndarray, options: ImageLike, rng: np.random.Generator) -> np.ndarray:
    if options.color:
        pixels = jitter(pixels, options.color, rng)
    return randaugment(pixels, *options.randaugment, rng) if options.randaugment else pixels
