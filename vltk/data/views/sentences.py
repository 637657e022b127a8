"""All texts of a sample as one sequence: the sentence, or the pair of sentences, of a task."""

from __future__ import annotations

import numpy as np

from vltk.data.draft import Draft, Draws
from vltk.data.image import BadSample
from vltk.data.sequence import joined


class Sentences:
    """`text`: `(T,)` int64 ids `[CLS] first [SEP] second [SEP]`; `text_length`: `()` int64, T before padding.

    Where they are longer than the stream takes, the longest text loses its end.
    """

    needs = ("text",)

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        if not draft.sample.texts:
            raise BadSample("no text")
        ids, _ = joined(draft.sample.texts, draft.tokenizer, draft.max_length or draft.tokenizer.max_length)
        return {"text": ids, "text_length": np.array(len(ids))}
