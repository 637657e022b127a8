"""The text of a sample as token ids."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft


class Text:
    """`text`: `(T,)` int64 ids `[CLS] ... [SEP]`; `text_length`: `()` int64, T before padding."""

    needs = ("text",)

    def __init__(self) -> None:
        """No options: the length is the stream's or the tokenizer's."""

    def __call__(self, draft: Draft, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"text": draft.ids, "text_length": np.array(len(draft.ids))}
