"""Classification of labelled samples by a fine-tuned model (GLUE, SNLI-VE; FLAVA, arXiv 2112.04482 section 5)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Views, task_reads, task_views


class Classification(nn.Module):
    """Cross-entropy of the class that `field` of a sample's JSON names by its number, mean over samples."""

    def __init__(self, model: Any, *, field: str = "label", weight: float = 1.0) -> None:
        super().__init__()
        self.views: Views = task_views(model) | {"label": {"maker": "label", "field": field}}
        self.passes, self.weight = model.passes, weight

    def reads(self, views: set[str]) -> set[Read]:
        return task_reads(self.passes)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"classify": batch["label"].new_tensor(len(batch["label"]))}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        logits = encoded.model.answer(*(encoded[name] for name in self.passes))  # (B, C)
        label = encoded.batch["label"]
        loss = self.weight * F.cross_entropy(logits, label, reduction="sum")
        accuracy = (logits.detach().argmax(1) == label).float().mean()
        return Losses({"classify": loss}, {"classify_accuracy": accuracy})
