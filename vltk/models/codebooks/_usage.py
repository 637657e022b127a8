"""How a codebook of K codes is used, told from how often each of them was chosen."""

from __future__ import annotations

import torch
from torch import Tensor

COLLAPSED = 0.02  # share of the codes; with a perplexity below it a codebook says next to nothing (ours)


def counted(codes: Tensor, size: int) -> Tensor:
    """Codes of any shape -> (K,) int64: how often each of `size` codes is among them."""
    return torch.bincount(codes.flatten(), minlength=size)


def usage(counts: Tensor) -> dict[str, float]:
    """counts (K,) -> codes that were chosen, codes that never were, and the perplexity: exp of the entropy, 1 to K."""
    used = int((counts > 0).sum())
    shares = counts.double() / counts.sum()
    perplexity = float(torch.special.entr(shares).sum().exp())
    return {"codes_used": float(used), "dead_codes": float(len(counts) - used), "perplexity": perplexity}


def collapsed(counts: Tensor) -> bool:
    """Whether nearly all of what was encoded shares a few codes, or one."""
    most = min(len(counts), int(counts.sum()))  # no more codes can be in use than were drawn
    return usage(counts)["perplexity"] < max(2.0, COLLAPSED * most)
