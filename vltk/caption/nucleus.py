"""Nucleus sampling (Holtzman et al., arXiv 1904.09751): each token drawn from the smallest set that holds `top_p`.

A draw is the highest of log probability plus Gumbel noise, which is a pure function of seed, sample, text and position:
a batch of any size draws the same texts, as far as its logits are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vltk.caption.contract import Captioner, Generated, Start, State
from vltk.caption.decoding import Decoding
from vltk.caption.limits import NONE, Limits
from vltk.caption.noise import gumbel, stream

FIRST = 64  # tokens looked at for the nucleus; more where they do not hold `top_p`


def sample(
    model: Captioner, state: State, start: Start, decoding: Decoding, seed: int, keys: Sequence[str]
) -> list[list[Generated]]:
    """`decoding.samples` texts of each of N images, the samples `keys`; `state` is theirs, without a token."""
    device, count = next(model.parameters()).device, decoding.samples
    ids = torch.tensor([list(start.prompt)] * len(keys), device=device)
    logits = model.next_logits(ids, state)
    rows = torch.arange(len(keys), device=device).repeat_interleave(count)
    streams = [stream(seed, key, number) for key in keys for number in range(count)]
    drawn = _drawn(model, state.take(rows), ids[rows], logits[rows], streams, start, decoding)
    return [drawn[first : first + count] for first in range(0, len(drawn), count)]


def _drawn(
    model: Captioner,
    state: State,
    ids: Tensor,
    logits: Tensor,
    streams: Sequence[int],
    start: Start,
    decoding: Decoding,
) -> list[Generated]:
    """A text of each row; rows whose text is complete leave the batch."""
    limits, first = Limits(decoding, start), ids.shape[1]
    found: list[Generated | None] = [None] * len(ids)
    open_ = torch.arange(len(ids), device=ids.device)
    noise = torch.tensor(streams, dtype=torch.long, device=ids.device)
    total = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    while True:
        position = ids.shape[1] - first
        chosen = _draw(limits(ids, logits) / decoding.temperature, decoding.top_p, noise, position)
        total = total + (logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(1))
        ids = torch.cat([ids, chosen[:, None]], 1)
        ended, full = chosen == start.end, ids.shape[1] >= decoding.max_length
        for row in (torch.ones_like(ended) if full else ended).nonzero()[:, 0].tolist():
            length = position + 1
            text = ids[row, first : first + length - int(ended[row])]
            found[int(open_[row])] = Generated(tuple(text.tolist()), float(total[row]) / length, bool(ended[row]))
        left = (~ended).nonzero()[:, 0]
        if full or not len(left):
            return [one for one in found if one is not None]
        if len(left) < len(ids):
            state, ids, open_ = state.take(left), ids[left], open_[left]
            noise, total = noise[left], total[left]
        logits = model.next_logits(ids[:, -1:], state)


def _draw(scores: Tensor, top_p: float, streams: Tensor, position: int) -> Tensor:
    """scores (R, V) of the next token -> (R,) ids."""
    logprobs, ids = nucleus(scores, top_p)
    best = (logprobs + gumbel(streams, position, ids)).argmax(1)
    return ids.gather(1, best[:, None])[:, 0]


def nucleus(scores: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """scores (R, V) -> log probabilities (R, K) float64, -inf outside of the nucleus, and ids (R, K), likeliest first.

    A token belongs to it where those before it hold less than `top_p`.
    """
    whole = scores.logsumexp(1, keepdim=True).double()
    size = min(FIRST, scores.shape[1])
    while True:
        best, ids = scores.topk(size, dim=1)
        top = best.double() - whole
        held = top.exp().cumsum(1)
        if size == scores.shape[1] or bool((held[:, -1] >= top_p).all()):
            before = torch.cat([held.new_zeros(len(held), 1), held[:, :-1]], 1)
            return top.masked_fill(before >= top_p, NONE), ids
        size = min(8 * size, scores.shape[1])
