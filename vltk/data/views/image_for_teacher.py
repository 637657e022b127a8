"""What a frozen teacher sees: the crop of `image` without colour jitter, at a size of its own."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws
from vltk.data.image import take


class ImageForTeacher:
    """`image_for_teacher`: `(3, size, size)` uint8."""

    needs = ("image",)

    def __init__(self, *, size: int = 224) -> None:
        self.size = size

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        return {"image_for_teacher": take(draft.pixels, draft.crop, self.size).transpose(2, 0, 1)}
