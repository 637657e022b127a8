"""Which stream each step trains on: exact proportions, spread evenly, a pure function of (weights, seed, step)."""

from __future__ import annotations

import numpy as np


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
