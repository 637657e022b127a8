"""Masked words beside an image, distilled from a momentum teacher (ALBEF, arXiv 2107.07651 sections 3.2, 3.3)."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Momentum, text_views
from vltk.objectives._soft import ramp, soft_cross_entropy

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class DistilledMasking(nn.Module):
    """Cross-entropy of the hidden words, and `alpha` of it against what the teacher says of them in the same place.

    `ratio` of the words are hidden, 80/10/10 mask/random/kept; the image is whole. alpha rises from 0 over
    `alpha_steps`; the teacher keeps `momentum` of its weights in a step.
    """

    ends_with_teacher = False

    def __init__(
        self,
        steps: int,
        *,
        ratio: float = 0.15,
        whole_word: bool = False,
        momentum: Share = 0.995,
        alpha: Share = 0.4,
        alpha_steps: Count = 0,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.views = {"image": {"maker": "image"}} | text_views(ratio, whole_word)
        self.momentum = Momentum(momentum, momentum, steps)
        self.alpha, self.alpha_steps, self.weight = alpha, alpha_steps, weight

    def reads(self, views: set[str]) -> set[Read]:
        return {("fused_words", "text_masked")}

    def teacher_reads(self, views: set[str]) -> set[Read]:
        return self.reads(views)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"mlm": batch["text_masked_at"].sum()}

    def teach(self, encoded: Encoded) -> Tensor:
        """(K, V) logits at the hidden words."""
        masked_at = encoded.batch["text_masked_at"]
        at = encoded.model.fused_at(None, masked_at, encoded.texts)
        return encoded.model.predict(encoded["fused_words"].at(at)).float()

    def forward(self, encoded: Encoded, step: int, taught: Tensor) -> Losses:
        logits, target = self.teach(encoded), encoded.batch["text"][encoded.batch["text_masked_at"]]
        alpha = ramp(self.alpha, step, self.alpha_steps)
        hard = F.cross_entropy(logits, target, reduction="sum")
        soft = soft_cross_entropy(logits, taught.softmax(-1)).sum()
        hits = (logits.detach().argmax(-1) == target).float().mean()
        metrics = {"mlm_accuracy": hits, "mlm_alpha": hard.new_tensor(alpha)}
        return Losses({"mlm": self.weight * ((1 - alpha) * hard + alpha * soft)}, metrics)
