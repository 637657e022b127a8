"""Samples compared inside groups of a step, which lie in one piece in a micro-batch (data/views/peers.py)."""

from __future__ import annotations

import torch
from torch import Tensor

from vltk.objectives._contract import Batch, Views


def peer_views(among: int) -> Views:
    """What grouping needs; objectives of a stream must agree on the size."""
    return {"peers": {"maker": "peers", "of": among}}


def grouped(tensor: Tensor, among: int) -> Tensor:
    """(B, ...) -> (groups, g, ...); g is `among`, or all of a smaller batch."""
    return tensor.unflatten(0, (-1, min(among, len(tensor))))


def same_image(batch: Batch, among: int) -> Tensor:
    """(groups, g, g) True where two samples of a group show the same image."""
    ids = grouped(batch["image_id"], among)
    return ids[:, :, None] == ids[:, None]


def drawn(weights: Tensor, lots: Tensor) -> Tensor:
    """weights (..., g), not all zero, lots (...) in [0, 1) -> (...) a number of each row, as probable as its weight."""
    sums = weights.double().cumsum(-1)
    return torch.searchsorted(sums, (lots * sums[..., -1])[..., None], right=True)[..., 0].clamp(max=sums.shape[-1] - 1)
