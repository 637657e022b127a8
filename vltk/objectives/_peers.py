"""Samples compared inside groups of a step, which lie in one piece in a micro-batch (data/views/peers.py)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def soft_targets(teacher: Tensor, hard: Tensor, alpha: float) -> Tensor:
    """Teacher's logits and hard targets (..., C), which sum to 1 -> their mixture, `alpha` of it the teacher's."""
    return alpha * teacher.softmax(-1) + (1 - alpha) * hard


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(..., C) both -> (...)."""
    return -(target * F.log_softmax(logits, dim=-1)).sum(-1)


def ramp(alpha: float, step: int, steps: int) -> float:
    """`alpha`, reached from 0 as a line over so many steps."""
    return alpha * min(1.0, step / steps) if steps else alpha
