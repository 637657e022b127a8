"""Beam search, step for step as transformers' `generate` (without early stopping), on a cache that beams share.

An image whose best text can no longer change leaves the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vltk.caption.contract import Captioner, Generated, Start, State
from vltk.caption.decoding import Decoding
from vltk.caption.limits import Limits

LOW = -1e9  # the score of what is not there


@dataclass
class _Beams:
    """Of M images with B beams each: ids (M, B, n), scores (M, B), their sums of log probabilities (M, B)."""

    ids: Tensor
    scores: Tensor
    logprobs: Tensor

    def at(self, images: Tensor) -> _Beams:
        return _Beams(self.ids[images], self.scores[images], self.logprobs[images])

    def chosen(self, places: Tensor) -> _Beams:
        """places (M, K) -> K of them an image."""
        ids = self.ids.gather(1, places[..., None].expand(-1, -1, self.ids.shape[-1]))
        return _Beams(ids, self.scores.gather(1, places), self.logprobs.gather(1, places))


def search(model: Captioner, state: State, start: Start, decoding: Decoding, count: int) -> list[list[Generated]]:
    """The `decoding.samples` best texts of each of `count` images; `state` is theirs, without a token."""
    device = next(model.parameters()).device
    prompt = torch.tensor([list(start.prompt)] * count, device=device)
    logits = model.next_logits(prompt, state)  # (N, V)
    zero = torch.zeros(count, 1, device=device)
    run = _Search(decoding, start, len(prompt[0]))
    return run.all(model, state, _Beams(prompt[:, None], zero, zero.double()), logits)


class _Search:
    def __init__(self, decoding: Decoding, start: Start, first: int) -> None:
        self.decoding, self.start, self.first = decoding, start, first  # first: tokens of the prompt
        self.limits = Limits(decoding, start)

    def all(self, model: Captioner, state: State, beams: _Beams, logits: Tensor) -> list[list[Generated]]:
        """From one beam an image, its prompt, to the finished texts of each."""
        count, width, device = len(beams.ids), self.decoding.beams, logits.device
        ended: list[list[Generated]] = [[] for _ in range(count)]
        images = torch.arange(count, device=device)  # that are still in the batch
        done = self._none(count, device)
        while True:
            candidates, parents = self._candidates(beams, logits)
            stops = candidates.ids[..., -1] == self.start.end
            if candidates.ids.shape[-1] >= self.decoding.max_length:
                stops = torch.ones_like(stops)
            done = self._finished(done, candidates, stops)
            places = (candidates.scores + stops * LOW).topk(width, dim=1)[1]
            beams, parents = candidates.chosen(places), parents.gather(1, places)
            goes_on = self._may_improve(beams, done) & ~stops.all(1)
            for row in (~goes_on).nonzero()[:, 0].tolist():
                ended[int(images[row])] = self._texts(done.at(torch.tensor([row], device=device)))
            left = goes_on.nonzero()[:, 0]
            if not len(left):
                return ended
            images, beams, done = images[left], beams.at(left), done.at(left)
            state = state.take(parents[left].flatten())
            logits = model.next_logits(beams.ids[..., -1:].flatten(0, 1), state)

    def _candidates(self, beams: _Beams, logits: Tensor) -> tuple[_Beams, Tensor]:
        """logits (M * B, V) -> the best 2 W continuations of each image, and the rows (M, 2 W) that they go on from."""
        images, width, _ = beams.ids.shape
        logprobs = logits.log_softmax(-1)
        scores = self.limits(beams.ids.flatten(0, 1), logprobs).unflatten(0, (images, width)) + beams.scores[..., None]
        size = scores.shape[-1]
        best, places = scores.flatten(1).topk(2 * self.decoding.beams, dim=1)  # (M, 2 W)
        parents, tokens = places // size, places % size
        ids = beams.ids.gather(1, parents[..., None].expand(-1, -1, beams.ids.shape[-1]))
        own = logprobs.unflatten(0, (images, width)).flatten(1).gather(1, places).double()
        found = _Beams(torch.cat([ids, tokens[..., None]], -1), best, beams.logprobs.gather(1, parents) + own)
        return found, parents + width * torch.arange(images, device=parents.device)[:, None]

    def _finished(self, done: _Beams, candidates: _Beams, stops: Tensor) -> _Beams:
        """The best finished texts so far. Only the first W candidates may become one: the others are a reserve."""
        length = candidates.ids.shape[-1] - self.first
        among = torch.arange(stops.shape[1], device=stops.device) < self.decoding.beams
        scores = candidates.scores / length**self.decoding.length_penalty + ~(stops & among) * LOW
        longer = torch.nn.functional.pad(done.ids, (0, candidates.ids.shape[-1] - done.ids.shape[-1]), value=-1)
        both = _Beams(
            torch.cat([longer, candidates.ids], 1),
            torch.cat([done.scores, scores], 1),
            torch.cat([done.logprobs, candidates.logprobs], 1),
        )
        return both.chosen(both.scores.topk(self.decoding.beams, dim=1)[1])

    def _may_improve(self, beams: _Beams, done: _Beams) -> Tensor:
        """(M,) whether the best running beam, were it to end here, would beat the worst finished one."""
        length = beams.ids.shape[-1] - self.first
        best = beams.scores[:, 0] / length**self.decoding.length_penalty
        return best > done.scores.min(1)[0]

    def _none(self, count: int, device: torch.device) -> _Beams:
        shape = (count, self.decoding.beams)
        scores = torch.full(shape, LOW, device=device)
        return _Beams(torch.full((*shape, 0), -1, device=device), scores, torch.zeros_like(scores).double())

    def _texts(self, done: _Beams) -> list[Generated]:
        """Of one image, best first; fewer than asked for where the search found fewer."""
        texts = []
        for number in range(self.decoding.samples):
            if float(done.scores[0, number]) <= LOW / 2:
                break
            ids = [token for token in done.ids[0, number, self.first :].tolist() if token >= 0]
            logprob = float(done.logprobs[0, number]) / len(ids)
            finished = ids[-1] == self.start.end
            texts.append(Generated(tuple(ids[: len(ids) - finished]), logprob, finished))
        return texts
