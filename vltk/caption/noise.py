"""Noise that is a pure function of (seed, key of the sample, number of the text, position, token).

No generator is kept: the same numbers come on any device, in any batch, and where a run goes on.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

GOLDEN, MIX1, MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # splitmix64 (Steele et al. 2014)
HIGHEST = 1 << 63


def stream(seed: int, key: str, number: int) -> int:
    """What names the noise of one text, a signed 64-bit number."""
    said = hashlib.blake2b(repr((seed, key, number)).encode(), digest_size=8).digest()
    return int.from_bytes(said, "big", signed=True)


def gumbel(streams: Tensor, position: int, tokens: Tensor) -> Tensor:
    """streams (R,) int64, tokens (R, K) int64 ids -> (R, K) float64 standard Gumbel noise, a number an id.

    The highest of logits plus this noise is a draw from their softmax.
    """
    at = _mixed(streams + _signed((position + 1) * GOLDEN))
    bits = _mixed(at[:, None] + (tokens + 1) * _signed(GOLDEN))
    uniform = (_shifted(bits, 11).double() + 0.5) * 2.0**-53
    return -torch.log(-torch.log(uniform))


def _mixed(x: Tensor) -> Tensor:
    """The finaliser of splitmix64; int64 arithmetic wraps, as it has to."""
    x = (x ^ _shifted(x, 30)) * _signed(MIX1)
    x = (x ^ _shifted(x, 27)) * _signed(MIX2)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, count: int) -> Tensor:
    """To the right, filled with zeros."""
    return (x >> count) & ((1 << (64 - count)) - 1)


def _signed(number: int) -> int:
    """The lowest 64 bits, as int64 has them."""
    return (number + HIGHEST) % (2 * HIGHEST) - HIGHEST
