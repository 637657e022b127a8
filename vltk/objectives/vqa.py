"""Visual question answering as a choice among frequent answers, each as right as people say (arXiv 1708.02711).

Binary cross-entropy of each answer with its soft score, summed over the answers, as MMF's `logit_bce`.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Views, task_reads, task_views


class VisualQuestionAnswering(nn.Module):
    """Soft-target binary cross-entropy over the answers that the head knows, mean over questions."""

    def __init__(self, model: Any, *, weight: float = 1.0) -> None:
        super().__init__()
        self.views: Views = task_views(model) | {"answers": {"maker": "answers", "size": model.outputs}}
        self.passes, self.weight = model.passes, weight

    def reads(self, views: set[str]) -> set[Read]:
        return task_reads(self.passes)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"vqa": batch["answers"].new_tensor(len(batch["answers"]))}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        logits = encoded.model.answer(*(encoded[name] for name in self.passes))  # (B, A)
        scores = encoded.batch["answers"]
        loss = self.weight * F.binary_cross_entropy_with_logits(logits, scores, reduction="sum")
        best = logits.detach().argmax(1, keepdim=True)
        return Losses({"vqa": loss}, {"vqa_score": scores.gather(1, best).mean()})
