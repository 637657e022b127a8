"""Masked language modelling on text alone (BERT, arXiv 1810.04805; FLAVA section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, prediction, text_views


class MaskedLanguageModeling(nn.Module):
    """Cross-entropy of the hidden tokens, mean over them; `ratio` of the tokens, 80/10/10 mask/random/kept."""

    def __init__(self, *, ratio: float = 0.15, whole_word: bool = False, weight: float = 1.0) -> None:
        super().__init__()
        self.views = text_views(ratio, whole_word)
        self.weight = weight

    def reads(self, views: set[str]) -> set[Read]:
        return {("text_masked", "masked")}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"mlm": batch["text_masked_at"].sum()}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        masked_at = encoded.batch["text_masked_at"]  # (B, T)
        hidden, words = encoded["text_masked"].at(masked_at), encoded.batch["text"][masked_at]  # (K, D), (K,)
        loss, accuracy = prediction(encoded.model.heads["mlm"], hidden, words, self.weight)
        return Losses({"mlm": loss}, {"mlm_accuracy": accuracy})
