"""Image-text matching: does this text belong to this image? (FLAVA, arXiv 2112.04482 section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, at_prior


class ImageTextMatching(nn.Module):
    """Two-class cross-entropy at the fused CLS token over all pairs; class 1 is a match.

    `unmatched` of the captions are swapped for another of the data set (TorchMultimodal; the paper's ratio is not
    known). Reads the masked fused pass where another objective of the stream masks, as FLAVA does, else the clean one.
    """

    def __init__(self, *, unmatched: float = 0.1, weight: float = 1.0) -> None:
        super().__init__()
        self.views = {
            "image": {"maker": "image"},
            "text": {"maker": "text"},
            "matched": {"maker": "unmatched", "probability": unmatched},
        }
        self.weight = weight

    def reads(self, views: set[str]) -> set[Read]:
        return {("fused_masked" if {"image_masked_at", "text_masked"} <= views else "fused", "cls")}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"itm": batch["matched"].new_tensor(len(batch["matched"]), dtype=torch.long)}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        fused = encoded["fused_masked"] if "fused_masked" in encoded else encoded["fused"]
        logits = encoded.model.match(fused).float()  # (B, 2)
        target = encoded.batch["matched"].long()
        loss = self.weight * F.cross_entropy(logits, target, reduction="sum")
        hits = (logits.detach().argmax(1) == target).float().mean()
        return Losses({"itm": loss}, {"itm_accuracy": hits, "itm_matched": target.float().mean()})

    def at_chance(self, losses: Mapping[str, float], metrics: Mapping[str, float]) -> str | None:
        """BLIP and LAVIS users report runs that stay at 0.63: the prior of one match in three (BLIP#200)."""
        return at_prior(losses["itm"] / self.weight, metrics["itm_matched"]) if self.weight else None
