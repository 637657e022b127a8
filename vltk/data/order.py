"""The order of samples: position -> (epoch, index), each epoch a permutation that needs no memory and no replay."""

from __future__ import annotations

import hashlib

import numpy as np

ROUNDS = 6


def locate(positions: np.ndarray, count: int, key: tuple[int | str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """`(n,)` positions to `(n,)` epochs and `(n,)` indices below `count`; every epoch holds each index once."""
    epochs, within = np.divmod(positions.astype(np.int64), count)
    indices = np.empty_like(within)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        indices[here] = permuted(within[here], count, (*key, epoch))
    return epochs, indices


def permuted(values: np.ndarray, count: int, key: tuple[int | str, ...]) -> np.ndarray:
    """The images of `values` (each below `count`) under the permutation of that key.

    A Feistel network on the next power of four, walked until the value is below `count` again (cycle walking).
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    keys = np.frombuffer(hashlib.blake2b(repr(key).encode(), digest_size=8 * ROUNDS).digest(), dtype="<u8")
    current = values.astype(np.uint64)
    outside = np.ones(len(current), dtype=bool)
    while outside.any():
        current[outside] = _feistel(current[outside], half, keys)
        outside = current >= count
    return current.astype(np.int64)


def _feistel(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
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
