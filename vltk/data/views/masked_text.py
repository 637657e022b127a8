"""BERT's masked text (arXiv 1810.04805, section 3.1), by token or by whole word (flava.md section 2.3)."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws

MASKED, REPLACED = 0.8, 0.1  # of the chosen tokens: [MASK], a random token; the rest stays as it is


class MaskedText:
    """`text_masked`: `(T,)` int64 ids; `text_masked_at`: `(T,)` bool, the chosen tokens; `text_length`: `()` int64.

    `ratio` of the tokens (words with `whole_word`) are chosen, at least one: a fraction left over is rounded up or down
    at random, so that the expected share is exact.
    """

    needs = ("text",)

    def __init__(self, *, ratio: float = 0.15, whole_word: bool = False) -> None:
        self.ratio, self.whole_word = ratio, whole_word

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        rng = draws()
        chosen = self.choose(draft.words, rng)
        masked = draft.ids.copy()
        at = np.flatnonzero(chosen)
        lot = rng.random(len(at))
        masked[at[lot < MASKED]] = draft.tokenizer.mask
        replaced = at[(lot >= MASKED) & (lot < MASKED + REPLACED)]
        regular = draft.tokenizer.regular
        masked[replaced] = regular[rng.integers(len(regular), size=len(replaced))]
        return {"text_masked": masked, "text_masked_at": chosen, "text_length": np.array(len(masked))}

    def choose(self, words: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which tokens to predict, `(T,)` bool; `words` is -1 at special tokens."""
        inside = words >= 0
        units = words if self.whole_word else np.cumsum(inside) - 1
        count = int(units[inside].max()) + 1
        chosen = rng.permutation(count)[: max(1, int(self.ratio * count + rng.random()))]
        picked = np.zeros(count, dtype=bool)
        picked[chosen] = True
        taken: np.ndarray = inside & picked[units]
        return taken
