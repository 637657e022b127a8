"""Retrieval ranks and recalls (Karpathy's protocol, as ALBEF and CLIP_benchmark compute it, but with ties against).

N images, M texts, `owner` (M,) the image of each text. A rank is the number of wrong candidates at least as similar as
the right one: a collapsed encoder, where all are equal, is at the end of the list and not at its top.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

RECALLS = (1, 5, 10)
BLOCK = 512  # queries compared at a time
SAME = 1e-6  # cosines closer than this are ties: fp32 does not tell them apart


def image_to_text_ranks(images: Floats, texts: Floats, owner: Ints) -> Ints:
    """images (N, E), texts (M, E), owner (M,) -> (N,): other images' texts at least as similar as the best own text."""
    ranks = np.empty(len(images), np.int64)
    for first in range(0, len(images), BLOCK):
        similarity = images[first : first + BLOCK] @ texts.T  # (block, M)
        own = owner[None] == np.arange(first, first + len(similarity))[:, None]
        best = np.where(own, similarity, -np.inf).max(1)
        ranks[first : first + BLOCK] = ((similarity >= best[:, None] - SAME) & ~own).sum(1)
    return ranks


def text_to_image_ranks(images: Floats, texts: Floats, owner: Ints) -> Ints:
    """images (N, E), texts (M, E), owner (M,) -> (M,): other images at least as similar as the text's own."""
    ranks = np.empty(len(texts), np.int64)
    for first in range(0, len(texts), BLOCK):
        similarity = texts[first : first + BLOCK] @ images.T  # (block, N)
        right = similarity[np.arange(len(similarity)), owner[first : first + BLOCK]]
        ranks[first : first + BLOCK] = (similarity >= right[:, None] - SAME).sum(1) - 1  # without itself
    return ranks


def recall(ranks: Ints, k: int) -> float:
    """Percent of the queries whose right answer is among the first k."""
    return 100 * float((ranks < k).mean())


def chance_recall(right: Ints, candidates: int, k: int) -> float:
    """Percent that a random order would give, where query i has right[i] right answers among the candidates."""
    k = min(k, candidates)
    counts, queries = np.unique(right, return_counts=True)
    misses = [comb(candidates - int(count), k) / comb(candidates, k) for count in counts]
    return 100 * float(1 - np.dot(misses, queries) / len(right))


def median_rank(ranks: Ints) -> float:
    """The middle position of the right answer; 1 is the first."""
    return float(np.median(ranks)) + 1
