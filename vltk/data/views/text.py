"""The text of a sample as token ids."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws


class Text:
    """`text`: `(T,)` int64 ids `[CLS] ... [SEP]`; `text_length`: `()` int64, T before padding.

    Each word is left out with probability `drop`; one is always kept. Where there is a `prompt`, every text begins with
    it; `prompt_length`: `()` int64, how many of the ids are [CLS] and the prompt's.
    """

    needs = ("text",)

    def __init__(self, *, drop: float = 0.0, prompt: str = "") -> None:
        self.drop, self.prompt = drop, prompt

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        ids = draft.ids[self.keep(draft.words, draws())] if self.drop else draft.ids
        if not self.prompt:
            return {"text": ids, "text_length": np.array(len(ids))}
        longest = draft.max_length or draft.tokenizer.max_length
        prompt = draft.tokenizer.encode(self.prompt, longest)[0][:-1]
        ids = np.concatenate([prompt, ids[1:]])
        if len(ids) > longest:
            ids = np.concatenate([ids[: longest - 1], ids[-1:]])
        return {"text": ids, "text_length": np.array(len(ids)), "prompt_length": np.array(len(prompt))}

    def keep(self, words: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which tokens stay, `(T,)` bool; `words` is -1 at special tokens, which all stay."""
        count = int(words.max(initial=-1)) + 1
        if not count:
            return np.ones(len(words), dtype=bool)
        stays = rng.random(count) >= self.drop
        stays[rng.integers(count)] |= not stays.any()
        kept: np.ndarray = (words < 0) | stays[words]
        return kept
