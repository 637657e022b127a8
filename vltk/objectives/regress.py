"""Regression of a score by a fine-tuned model (STS-B)."""

from __future__ import annotations

from typing import Annotated, Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Views, task_reads, task_views

Positive = Annotated[float, Field(gt=0)]


class Regression(nn.Module):
    """Squared error of the score that `field` of a sample's JSON names, over `scale`, mean over samples.

    scale: the highest score, so that the head learns 0 to 1 (5 of STS-B, fairseq preprocess_GLUE_tasks.sh).
    """

    def __init__(self, model: Any, *, field: str = "label", scale: Positive = 5.0, weight: float = 1.0) -> None:
        super().__init__()
        self.views: Views = task_views(model) | {"label": {"maker": "label", "field": field, "score": True}}
        self.passes, self.scale, self.weight = model.passes, scale, weight

    def reads(self, views: set[str]) -> set[Read]:
        return task_reads(self.passes)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"regress": batch["label"].new_tensor(len(batch["label"]))}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        found = encoded.model.answer(*(encoded[name] for name in self.passes))[:, 0]  # (B,)
        error = F.mse_loss(found, encoded.batch["label"] / self.scale, reduction="sum")
        return Losses({"regress": self.weight * error})
