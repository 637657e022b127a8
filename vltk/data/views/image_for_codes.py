"""What the visual tokenizer sees: the crop of `image`, without colour jitter, by Lanczos (flava.md section 4.3)."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws
from vltk.data.image import take_lanczos


class ImageForCodes:
    """`image_for_codes`: `(3, size, size)` uint8."""

    needs = ("image",)

    def __init__(self, *, size: int = 112) -> None:
        self.size = size

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        return {"image_for_codes": take_lanczos(draft.pixels, draft.crop, self.size).transpose(2, 0, 1)}
