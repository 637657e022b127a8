"""Tables of learned positions in encoders of another size: of images (arXiv 2010.11929 section 3.2) and of texts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resized(table: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """(1 + N, D), CLS first, over the grid `before` -> (1 + M, D) over the grid `after`; the same table where equal.

    Bicubic without antialiasing, as transformers modeling_vit.py interpolate_pos_encoding does it.
    """
    if before == after:
        return table
    patches = table[1:].unflatten(0, before).permute(2, 0, 1)[None]  # (1, D, h, w)
    patches = F.interpolate(patches.float(), size=after, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], patches[0].flatten(1).T.to(table.dtype)])


def grid_of(table: Tensor) -> tuple[int, int]:
    """The square grid of a table (1 + N, D), CLS first; (0, 0) where N is no square."""
    side = math.isqrt(max(0, len(table) - 1))
    return (side, side) if side * side == len(table) - 1 else (0, 0)


def of_length(table: Tensor, own: Tensor) -> Tensor:
    """(L, D) in the place of `own` (M, D): cut where L is more, completed with the rows of `own` where it is less."""
    return torch.cat([table[: len(own)], own[len(table) :].to(table.dtype)])
