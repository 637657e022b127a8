"""Small pictures and captions, pure functions of a number."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import simplejpeg

WORDS = [
    "a",
    "the",
    "red",
    "blue",
    "green",
    "dog",
    "cat",
    "ball",
    "runs",
    "sits",
    "on",
    "under",
    "grass",
    "two",
    "big",
    "old",
]
OPTIONS = SimpleNamespace(
    size=32, crop=(0.5, 1.0), ratio=(0.75, 4 / 3), flip=True, color=0.0, randaugment=None, crops=None
)


def picture(seed: int, height: int = 40, width: int = 48) -> bytes:
    """A JPEG of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    pixels = coarse.repeat(-(-height // 5), 0)[:height].repeat(-(-width // 6), 1)[:, :width]
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90)
    return encoded


def caption(seed: int, words: int = 8) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))
