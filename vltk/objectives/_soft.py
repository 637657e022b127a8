"""Targets that are in part what a teacher says (momentum distillation, arXiv 2107.07651 section 3.3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_targets(teacher: Tensor, hard: Tensor, alpha: float) -> Tensor:
    """Teacher's logits and hard targets (..., C), which sum to 1 -> their mixture, `alpha` of it the teacher's."""
    return alpha * teacher.softmax(-1) + (1 - alpha) * hard


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """(..., C) both -> (...)."""
    return -(target * F.log_softmax(logits, dim=-1)).sum(-1)


def ramp(alpha: float, step: int, steps: int) -> float:
    """`alpha`, reached from 0 as a line over so many steps."""
    return alpha * min(1.0, step / steps) if steps else alpha
