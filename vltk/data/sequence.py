"""One sequence of a sentence, or of several one behind the other: `[CLS] first [SEP] second [SEP]` (BERT section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vltk.data.text import Tokenizer


def joined(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> tuple[np.ndarray, bool]:
    """`(T,)` int64 ids of all texts, at most `max_length`, and whether anything was cut off.

    Tokens are taken off the end of the longest text until all fit, as BERT does (create_pretraining_data.py).
    """
    parts = [tokenizer.encode(text, max_length + 1)[0][1:-1] for text in texts]  # one more than fits, to be seen
    given = [len(part) for part in parts]
    left = shortened(given, max_length - 1 - len(parts))
    kept = [np.append(part[:length], tokenizer.sep) for part, length in zip(parts, left, strict=True)]
    return np.concatenate([np.array([tokenizer.cls]), *kept]).astype(np.int64), left != given


def shortened(lengths: Sequence[int], room: int) -> list[int]:
    """The lengths after the longest lost a token, again and again, until their sum is `room` or less."""
    left = list(lengths)
    while sum(left) > room:
        longest = max(range(len(left)), key=lambda index: (left[index], index))
        left[longest] -= 1
    return left
