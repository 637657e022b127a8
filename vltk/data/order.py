"""The order of samples: position -> (epoch, index), each epoch a permutation that needs no memory and no replay.

Either the whole data set is permuted, or its shards are, and then the samples within windows of so many shards: what is
read at a time then lies in few files. Both are pure functions of the key and the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

ROUNDS = 6
BLOCK = 4096  # positions that are looked up together
Key = tuple[int | str, ...]


class Order:
    """Where each position of a stream of samples lies, over shards of `sizes` samples.

    `window`: how many shards are mixed at a time; None: all of them, as one permutation that knows no shards.
    """

    def __init__(self, sizes: Sequence[int], window: int | None, key: Key) -> None:
        self.sizes, self.key = np.array(sizes, np.int64), key
        self.count = int(self.sizes.sum())
        self.window = window if window is not None and window < len(sizes) else None
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self._plan = lru_cache(maxsize=4)(self._planned)
        self._block = lru_cache(maxsize=16)(self._located)

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(n,)` positions to `(n,)` epochs and `(n,)` indices below `count`; every epoch holds each index once."""
        epochs, indices = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        blocks = positions // BLOCK
        for block in np.unique(blocks).tolist():
            here = blocks == block
            at = positions[here] - block * BLOCK
            epochs[here], indices[here] = (found[at] for found in self._block(block))
        return epochs, indices

    def _located(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a whole block of positions at once, which costs little more than one batch."""
        positions = np.arange(block * BLOCK, (block + 1) * BLOCK)
        if self.window is None:
            return locate(positions, self.count, self.key)
        epochs, within = np.divmod(positions.astype(np.int64), self.count)
        indices = np.empty_like(within)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            indices[here] = self._in_windows(within[here], epoch)
        return epochs, indices

    def _in_windows(self, within: np.ndarray, epoch: int) -> np.ndarray:
        plan = self._plan(epoch)
        windows = np.searchsorted(plan.bounds, within, side="right") - 1
        indices = np.empty_like(within)
        for window in np.unique(windows).tolist():
            here = windows == window
            start, stop = plan.bounds[window], plan.bounds[window + 1]
            drawn = permuted(within[here] - start, int(stop - start), (*self.key, epoch, "window", window)) + start
            places = np.searchsorted(plan.starts, drawn, side="right") - 1
            indices[here] = self.starts[plan.shards[places]] + drawn - plan.starts[places]
        return indices

    def near(self, position: int) -> list[int]:
        """The shards of the window at `position` and of the next one; all of them, when all are mixed."""
        if self.window is None:
            return list(range(len(self.sizes)))
        epoch, within = divmod(position, self.count)
        plan = self._plan(epoch)
        window = int(np.searchsorted(plan.bounds, within, side="right")) - 1
        here = plan.shards[window * self.window : (window + 2) * self.window].tolist()
        last = (window + 1) * self.window >= len(plan.shards)
        return here + (self._plan(epoch + 1).shards[: self.window].tolist() if last else [])

    def _planned(self, epoch: int) -> Plan:
        shards = permuted(np.arange(len(self.sizes)), len(self.sizes), (*self.key, epoch, "shards"))
        starts = np.concatenate([[0], np.cumsum(self.sizes[shards])])
        return Plan(shards, starts, np.append(starts[: -1 : self.window], self.count))


class Plan(NamedTuple):
    """One epoch: the shards in their order `(S,)`, where each starts `(S + 1,)`, where each window starts and ends."""

    shards: np.ndarray
    starts: np.ndarray
    bounds: np.ndarray


def locate(positions: np.ndarray, count: int, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """`(n,)` positions to `(n,)` epochs and `(n,)` indices below `count`; every epoch holds each index once."""
    epochs, within = np.divmod(positions.astype(np.int64), count)
    every, which = np.unique(epochs, return_inverse=True)
    keys = np.array([_round_keys((*key, epoch)) for epoch in every.tolist()], "<u8").reshape(-1, ROUNDS)
    return epochs, _walked(within, count, keys[which].T)


def permuted(values: np.ndarray, count: int, key: Key) -> np.ndarray:
    """The images of `values` (each below `count`) under the permutation of that key."""
    return _walked(values, count, np.repeat(_round_keys(key)[:, None], len(values), axis=1))


def _round_keys(key: Key) -> np.ndarray:
    return np.frombuffer(hashlib.blake2b(repr(key).encode(), digest_size=8 * ROUNDS).digest(), dtype="<u8")


def _walked(values: np.ndarray, count: int, keys: np.ndarray) -> np.ndarray:
    """`(n,)` values, each below `count` and each under the permutation of its own `keys` (ROUNDS, n).

    A Feistel network on the next power of four, walked until the value is below `count` again (cycle walking).
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    current = values.astype(np.uint64)
    outside = np.ones(len(current), dtype=bool)
    while outside.any():
        current[outside] = _feistel(current[outside], half, keys[:, outside])
        outside = current >= count
    return current.astype(np.int64)


def _feistel(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """Values (n,), below 4 ** half, and the keys (ROUNDS, n) of each."""
    mask = np.uint64((1 << half) - 1)
    bits = np.uint64(half)
    left, right = values >> bits, values & mask
    for round_key in keys:
        left, right = right, left ^ (_mixed(right ^ round_key) & mask)
    mixed: np.ndarray = (left << bits) | right
    return mixed


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finisher of splitmix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
