"""The text of a sample as token ids."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft


class Text:
    """`text`: `(T,)` int64 ids `[CLS] ... [SEP]`; `text_length`: `()` int64, T before padding.

    Each word is left out with probability `drop`; one is always kept.
    """

    needs = ("text",)

    def __init__(self, *, drop: float = 0.0) -> None:
        self.drop = drop

    def __call__(self, draft: Draft, rng: np.random.Generator) -> dict[str, np.ndarray]:
        ids = draft.ids[self.keep(draft.words, rng)] if self.drop else draft.ids
        return {"text": ids, "text_length": np.array(len(ids))}

    def keep(self, words: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which tokens stay, `(T,)` bool; `words` is -1 at special tokens, which all stay."""
        count = int(words.max(initial=-1)) + 1
        if not count:
            return np.ones(len(words), dtype=bool)
        stays = rng.random(count) >= self.drop
        stays[rng.integers(count)] |= not stays.any()
        kept: np.ndarray = (words < 0) | stays[words]
        return kept
