"""Texts for the galleries: hiding words, and putting word pieces back into words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vltk.report.galleries.examples import SEED

if TYPE_CHECKING:
    import torch


def hidden(ids: torch.Tensor, lengths: torch.Tensor, ratio: float) -> torch.Tensor:
    """(B, T) True at `ratio` of the tokens between first and last of each text, at least one."""
    import torch

    rng = np.random.default_rng(SEED)
    masked_at = torch.zeros_like(ids, dtype=torch.bool)
    for row, length in zip(masked_at, lengths.tolist(), strict=True):
        inner = np.arange(1, length - 1)
        count = min(len(inner), max(1, math.ceil(ratio * len(inner))))
        row[torch.as_tensor(rng.choice(inner, count, replace=False))] = True
    return masked_at


def joins(token: str) -> bool:
    """Whether a token is written without a space before it."""
    return token.startswith("##") or token in set(".,;:!?)'")
