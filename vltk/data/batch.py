"""Samples to a batch: equal shapes are stacked, texts of different lengths are padded to the longest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One micro-batch: each tensor has `size` rows; `keys` are the names of the samples ("data set/key")."""

    tensors: dict[str, Tensor]
    keys: list[str]
    size: int


def collate(samples: list[dict[str, np.ndarray]], keys: list[str], pad: int) -> Batch:
    """Views of each sample to a batch. 1-D views may differ in length: ids are padded with `pad`, flags with False."""
    import torch

    tensors = {name: torch.from_numpy(_rows([sample[name] for sample in samples], pad)) for name in samples[0]}
    return Batch(tensors, keys, len(samples))


def padded(texts: list[np.ndarray], pad: int) -> tuple[Tensor, Tensor]:
    """Token ids of B texts -> ids (B, T), T the longest, and lengths (B,)."""
    import torch

    return torch.from_numpy(_rows(texts, pad)), torch.tensor([len(ids) for ids in texts])


def _rows(arrays: list[np.ndarray], pad: int) -> np.ndarray:
    """`(B, ...)`, in one new piece of memory."""
    first = arrays[0]
    if first.ndim != 1:
        return np.stack(arrays)
    longest = max(len(array) for array in arrays)
    fill = False if first.dtype == bool else pad
    rows = np.full((len(arrays), longest), fill, dtype=first.dtype)
    for row, array in zip(rows, arrays, strict=True):
        row[: len(array)] = array
    return rows
