"""Masked image modelling: predict the codebook's code of hidden patches (BEiT, arXiv 2106.08254; FLAVA section 3.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, image_views, prediction


class MaskedImageModeling(nn.Module):
    """Cross-entropy of the codes at masked patches, mean over them. The masks are BEiT's blocks.

    mask_ratio: most patches hidden; BEiT's 75 of 196. min_block: smallest block in patches (16 of 196, scaled).
    """

    def __init__(
        self,
        model: Any,
        codes: Any,
        *,
        mask_ratio: float = 75 / 196,
        min_block: int | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.views = image_views(model.image.grid, codes.stride, mask_ratio, min_block)
        self.weight = weight

    def reads(self, views: set[str]) -> set[Read]:
        return {("image_masked", "masked")}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"mim": batch["image_masked_at"].sum()}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        masked_at = encoded.batch["image_masked_at"]  # (B, N)
        behind_cls = torch.cat([masked_at.new_zeros(len(masked_at), 1), masked_at], dim=1)
        hidden, codes = encoded["image_masked"].at(behind_cls), encoded.codes[masked_at]  # (K, D), (K,)
        loss, accuracy = prediction(encoded.model.heads["mim"], hidden, codes, self.weight)
        return Losses({"mim": loss}, {"mim_accuracy": accuracy})
