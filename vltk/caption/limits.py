"""What the next token may not be, or should less likely be: repetition, lengths, ids that no text has.

As transformers orders it (generation/utils.py, `_get_logits_processor`): repetition penalty, n-grams, shortest length,
and last the ids that never come. Sampling applies it to logits, beam search to log probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vltk.caption.contract import Start
from vltk.caption.decoding import Decoding

NONE = float("-inf")


class Limits:
    """Changes scores (R, V) of the next token by the ids (R, n) so far, the prompt among them."""

    def __init__(self, decoding: Decoding, start: Start) -> None:
        self.decoding, self.start = decoding, start
        self._never = torch.tensor(list(start.never), dtype=torch.long)

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """-> (R, V), a new tensor."""
        scores = penalised(ids, scores, self.decoding.repetition_penalty)
        if self.decoding.no_repeat_ngram:
            scores = without_repeats(ids, scores, self.decoding.no_repeat_ngram)
        if ids.shape[1] < self.decoding.min_length:
            scores[:, self.start.end] = NONE
        if self.start.known is not None:
            scores[:, self.start.known :] = NONE
        return scores.index_fill_(1, self._never.to(scores.device), NONE)


def penalised(ids: Tensor, scores: Tensor, penalty: float) -> Tensor:
    """Scores of ids that are there: divided by the penalty where positive, else multiplied (CTRL section 4.1)."""
    if penalty == 1:
        return scores.clone()
    seen = scores.gather(1, ids)
    return scores.scatter(1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


def without_repeats(ids: Tensor, scores: Tensor, size: int) -> Tensor:
    """No token that would end a sequence of `size` ids that was there before."""
    if ids.shape[1] < size:
        return scores
    windows = ids.unfold(1, size, 1)  # (R, n - size + 1, size)
    last = ids[:, ids.shape[1] - size + 1 :]  # (R, size - 1)
    repeated = (windows[..., :-1] == last[:, None]).all(-1)  # (R, n - size + 1)
    row, place = repeated.nonzero(as_tuple=True)
    scores[row, windows[row, place, -1]] = NONE
    return scores
