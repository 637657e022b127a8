"""K-means: what codes can start from, and the sums that a table of them follows.

n encodings of width W, K codes. Sums are products with one-hot rows, in pieces: their order is fixed on any device, so
that a run can be repeated bit for bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 4096  # encodings compared with all codes at a time


def nearest(encodings: Tensor, codebook: Tensor) -> Tensor:
    """(n, W), (K, W) -> (n,) int64: the nearest code, of equal ones the first.

    Where all are of length 1 it is that of the largest cosine.
    """
    far = codebook.square().sum(1) / 2
    return torch.cat([(some @ codebook.T - far).argmax(1) for some in encodings.split(PIECE)])


def summed(encodings: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(n, W) and the code (n,) of each -> (K,) how many have each code, and (K, W) their sums."""
    counts, sums = encodings.new_zeros(size), encodings.new_zeros(size, encodings.shape[1])
    for some, own in zip(encodings.split(PIECE), codes.split(PIECE), strict=True):
        rows = some.new_zeros(len(some), size).scatter_(1, own[:, None], 1.0)
        counts += rows.sum(0)
        sums += rows.T @ some
    return counts, sums


def kmeans(encodings: Tensor, codebook: Tensor, iterations: int, unit: bool = False) -> tuple[Tensor, Tensor]:
    """(n, W) -> centres (K, W), and (K,) how many encodings were nearest to each in the last iteration.

    They begin at encodings drawn without replacement; where n is smaller than K, the rest begins as `codebook` (K, W).
    A centre that nothing is nearest to stays where it is. unit: encodings are of length 1, and centres are to be.
    """
    size = len(codebook)
    drawn = torch.randperm(len(encodings), generator=torch.Generator().manual_seed(0))[:size]
    centres, counts = codebook.clone(), codebook.new_zeros(size)
    centres[: len(drawn)] = encodings[drawn.to(encodings.device)]
    for _ in range(iterations):
        counts, sums = summed(encodings, nearest(encodings, centres), size)
        means = F.normalize(sums, dim=1) if unit else sums / counts.clamp(min=1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, centres)
    return centres, counts
