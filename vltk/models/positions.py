"""Tables of learned image positions, resized to another grid of patches (arXiv 2010.11929 section 3.2)."""

from __future__ import annotations

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
