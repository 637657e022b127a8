"""Cross-entropy over large vocabularies, some rows at a time: what is computed between logits and gradient never leaves
the processor's cache, and of all (K, V) numbers only logits and gradient are ever in memory, in the logits' precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = {"cpu": 2**18}  # numbers at a time
LARGE = 2**27  # elsewhere, where starting a kernel costs more than reading memory


def cross_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """logits (K, V), target (K,) -> the sum of cross-entropies in fp32, and how often the target was the argmax.

    Rows of logits behind those that have a target count for nothing.
    """
    loss, hits = _CrossEntropy.apply(logits, target)
    return loss, hits


class _CrossEntropy(torch.autograd.Function):
    """Forward knows the softmax already, so it writes the gradient down: backward only scales it."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        loss = logits.new_zeros((), dtype=torch.float32)
        hits = target.new_zeros(())
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        for part in _chunks(logits[: len(target)]):
            wanted = target[part, None]
            scores = logits[part].float()  # (k, V)
            softmax = scores.softmax(1)
            highest, chosen = scores.amax(1, keepdim=True), scores.gather(1, wanted)
            loss += (highest - chosen - softmax.amax(1, keepdim=True).log()).sum()  # the largest is exp(highest - lse)
            near = (chosen == highest)[:, 0]  # argmax is slow, and few targets can be it
            hits += (scores[near].argmax(1) == wanted[near, 0]).sum()
            if gradient is not None:
                gradient[part] = softmax.scatter_add_(1, wanted, torch.full_like(chosen, -1.0))
        if gradient is not None:
            gradient[len(target) :] = 0
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(hits)
        return loss, hits

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Any) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        for part in _chunks(gradient):  # in place: torch refuses to go back a second time
            gradient[part] = gradient[part].float() * scale
        return gradient, None


def _chunks(logits: Tensor) -> Iterator[slice]:
    """So many rows of (K, V) that they fit into the cache."""
    rows = max(1, CHUNK.get(logits.device.type, LARGE) // logits.shape[1])
    return (slice(start, min(start + rows, len(logits))) for start in range(0, len(logits), rows))
