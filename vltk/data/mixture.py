"""Which stream each step trains on, and which source each sample of a stream is read from: exact proportions, spread
evenly, a pure function of the weights (streams: and the seed) and the step or position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

LARGEST = 2**30  # sum of the whole numbers that stand for weights: their products fit into 63 bits


class Mixture:
    """Smooth weighted round robin: after any number of steps each stream is within one step of its share of them.

    `seed` sets where the first round starts, so that runs of other seeds meet the streams in another order.
    """

    def __init__(self, weights: dict[str, float], steps: int, seed: int = 0) -> None:
        self.names = list(weights)
        self._order = _schedule(np.array(list(weights.values()), dtype=np.float64), steps, seed)  # (steps,)
        taken = self._order[:, None] == np.arange(len(self.names))  # (steps, streams)
        self._counts = np.concatenate([np.zeros((1, len(self.names)), np.int64), np.cumsum(taken, axis=0)])

    def stream_at(self, step: int) -> str:
        """The stream of step `step`, counted from 0."""
        return self.names[self._order[step]]

    def count(self, stream: str, step: int) -> int:
        """How many steps before `step` were of that stream."""
        return int(self._counts[step, self.names.index(stream)])


def _schedule(weights: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """`(steps,)` indices of streams: each step goes to the stream that is furthest behind its share."""
    share = weights / weights.sum()
    ahead = np.random.default_rng(seed).random(len(weights)) * 1e-3  # decides among equals
    behind = ahead - ahead.mean()
    order = np.empty(steps, dtype=np.int64)
    for step in range(steps):
        behind += share
        order[step] = chosen = int(behind.argmax())
        behind[chosen] -= 1
    return order


class Shares:
    """From which source each position of a stream is read: exact shares of the positions, spread evenly.

    A pure function of the weights and the position. The first source takes every position at which its rounded share
    grows; the next one does so among the positions that are left, and so on, the largest share first.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.parts = _whole(weights)
        self.order = sorted(range(len(weights)), key=lambda source: -self.parts[source])

    def split(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` positions to the source of each `(n,)` and how many positions before it were of that source `(n,)`."""
        sources, counts = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        open_, left, whole = np.arange(len(positions)), positions.astype(np.int64), sum(self.parts)
        for source in self.order:
            part = self.parts[source]
            before = _taken(left, part, whole)
            takes = _taken(left + 1, part, whole) > before
            sources[open_[takes]], counts[open_[takes]] = source, before[takes]
            open_, left, whole = open_[~takes], (left - before)[~takes], whole - part
        return sources, counts


def _taken(positions: np.ndarray, part: int, whole: int) -> np.ndarray:
    """How many of the first `positions` belong to a source of `part` in `whole`, to the nearest whole number."""
    rounds, rest = np.divmod(positions, whole)
    taken: np.ndarray = rounds * part + (rest * part + whole // 2) // whole
    return taken


def _whole(weights: Sequence[float]) -> list[int]:
    """Whole numbers in the proportions of the weights; finer than 2^-30 of the sum is rounded away."""
    exact = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(part.denominator for part in exact))
    parts = [int(part * scale) for part in exact]
    shared = math.gcd(*parts)
    if sum(parts) // shared > LARGEST:
        return [max(1, round(LARGEST * part / sum(exact))) for part in exact]
    return [part // shared for part in parts]
