"""Texts for the galleries: padding, hiding words, and putting word pieces back into words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from vltk.report.galleries.examples import SEED

if TYPE_CHECKING:
    import torch


def padded(texts: list[Any], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids of several texts -> ids (B, T), lengths (B,)."""
    import torch

    lengths = torch.tensor([len(ids) for ids in texts])
    ids = torch.full((len(texts), int(lengths.max())), pad, dtype=torch.long)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    return ids, lengths


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
