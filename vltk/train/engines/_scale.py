"""Precisions, and the loss scale that fp16 needs: the same for both engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["fp32", "bf16", "fp16"]
LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}  # what autocast computes in; weights stay fp32

START, LEAST = 2.0**16, 2.0**-14
PATIENCE = 2000  # good steps behind which the scale is doubled, as in torch.amp.GradScaler


class LossScale:
    """What losses are multiplied by before backward, so that small gradients do not vanish in fp16.

    Halved when a gradient overflows, in which case the step is left out; doubled after `PATIENCE` good steps. Where it
    is not `dynamic` it is 1 and stays so.
    """

    def __init__(self, dynamic: bool) -> None:
        self.dynamic = dynamic
        self.value, self.good = (START if dynamic else 1.0), 0
        self.overflowed = False

    def update(self, finite: bool) -> None:
        """Notes whether the gradient of a step was finite; `overflowed` says whether a lower scale may help it."""
        self.overflowed = self.dynamic and not finite and self.value > LEAST
        self.good = self.good + 1 if finite else 0
        if self.overflowed:
            self.value /= 2
        elif self.dynamic and self.good == PATIENCE:
            self.value, self.good = self.value * 2, 0

    def undo(self, parameters: Sequence[nn.Parameter]) -> None:
        """Divides their gradients by the scale."""
        if self.dynamic:
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1 / self.value)

    def metrics(self) -> dict[str, Tensor]:
        """Figures to log."""
        return {"loss_scale": torch.tensor(self.value)} if self.dynamic else {}

    def facts(self) -> dict[str, float]:
        """Plain data for a checkpoint; empty where there is nothing to know."""
        return {"value": self.value, "good": self.good} if self.dynamic else {}

    def load(self, facts: Mapping[str, float]) -> None:
        """The reverse of `facts`; where the checkpoint knows no scale it begins anew."""
        if self.dynamic and facts:
            self.value, self.good = float(facts["value"]), int(facts["good"])
