"""Masked multimodal modelling: hidden patches and words from the fused pair (FLAVA, arXiv 2112.04482 section 3.2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.models.tokens import Text
from vltk.objectives._contract import (
    Batch,
    Losses,
    image_views,
    positive,
    prediction,
    text_views,
)


class MaskedMultimodalModeling(nn.Module):
    """`mmm_image`: codes of masked patches, `mmm_text`: masked words (whole words), both of matched pairs only.

    image_weight and text_weight scale the two losses; masking is that of `mim` and `mlm`.
    """

    def __init__(
        self,
        model: Any,
        codes: Any,
        *,
        text_ratio: float = 0.15,
        whole_word: bool = True,
        image_ratio: float = 75 / 196,
        min_block: int | None = None,
        image_weight: float = 1.0,
        text_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.views = image_views(model.image.grid, codes.stride, image_ratio, min_block)
        self.views |= text_views(text_ratio, whole_word)
        self.image_weight, self.text_weight = image_weight, text_weight

    def reads(self, views: set[str]) -> set[Read]:
        return {("fused_masked", "image_masked"), ("fused_masked", "text_masked")}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        image_at, text_at = self._masked(batch)
        return {"mmm_image": image_at.sum(), "mmm_text": text_at.sum()}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        model, batch, fused = encoded.model, encoded.batch, encoded["fused_masked"]
        texts = Text(batch["text"], batch["text_length"])
        image_at, text_at = self._masked(batch)  # (B, N), (B, T)
        images = fused.at(model.fused_at(image_at, None, texts))  # (K, D) at the hidden patches
        words = fused.at(model.fused_at(None, text_at, texts))  # at the hidden words
        codes, ids = encoded.codes[image_at], batch["text"][text_at]
        image_loss, image_accuracy = prediction(model.heads["mmm_image"], images, codes, self.image_weight)
        text_loss, text_accuracy = prediction(model.heads["mmm_text"], words, ids, self.text_weight)
        return Losses(
            {"mmm_image": image_loss, "mmm_text": text_loss},
            {"mmm_image_accuracy": image_accuracy, "mmm_text_accuracy": text_accuracy},
        )

    def _masked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        rows = positive(batch, batch["text"])[:, None]
        return batch["image_masked_at"] & rows, batch["text_masked_at"] & rows
