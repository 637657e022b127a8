"""The label of a sample: the number of its class, or a score."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws
from vltk.data.image import BadSample


class Label:
    """`label`: `()`, what `field` of the sample's JSON says: int64, a class number from 0; with `score` float32."""

    needs = ()

    def __init__(self, *, field: str = "label", score: bool = False) -> None:
        self.field, self.score = field, score

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        value = draft.sample.meta.get(self.field)
        if self.score and isinstance(value, int | float):
            return {"label": np.array(value, np.float32)}
        if not self.score and isinstance(value, int) and value >= 0:
            return {"label": np.array(value, np.int64)}
        wanted = "score" if self.score else "number of a class"
        raise BadSample(f"its JSON has no {wanted} {self.field!r}")
