"""How right each answer of a vocabulary is to the question of a sample, by what people said."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws
from vltk.data.image import BadSample


class Answers:
    """`answers`: `(A,)` float32 from 0 to 1, from `answers` of the sample's JSON: `[[number, score], ...]`, else 0."""

    needs = ()

    def __init__(self, *, size: int) -> None:
        self.size = size

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        given = draft.sample.meta.get("answers")
        if given is None:
            raise BadSample("its JSON has no 'answers'")
        scores = np.zeros(self.size, np.float32)
        for number, score in given:
            scores[number] = score
        return {"answers": scores}
