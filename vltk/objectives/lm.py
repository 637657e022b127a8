"""Causal language modelling of captions beside their images (BLIP, arXiv 2201.12086 section 3.2)."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Views

Share = Annotated[float, Field(ge=0, lt=1)]


class CausalLanguageModeling(nn.Module):
    """Cross-entropy of each token given the image and the tokens before it, mean over the tokens, [SEP] included.

    Where the model has a prompt every caption begins with it, and its words are not predicted (BLIP's captioner).
    """

    def __init__(self, model: Any, *, label_smoothing: Share = 0.1, weight: float = 1.0) -> None:
        super().__init__()
        text = {"maker": "text"} | ({"prompt": model.prompt} if model.prompt else {})
        self.views: Views = {"image": {"maker": "image"}, "text": text}
        self.label_smoothing, self.weight = label_smoothing, weight

    def reads(self, views: set[str]) -> set[Read]:
        return {("decoded", "all")}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"lm": predicted(batch).sum()}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        at, ids = predicted(encoded.batch), encoded.batch["text"]
        hidden = encoded["decoded"].normed[:, :-1][at]  # (K, D)
        logits, target = encoded.model.predict(hidden).float(), ids[:, 1:][at]  # (K, V), (K,)
        loss = F.cross_entropy(logits, target, reduction="sum", label_smoothing=self.label_smoothing)
        hits = (logits.detach().argmax(-1) == target).float().mean()
        return Losses({"lm": self.weight * loss}, {"lm_accuracy": hits})


def predicted(batch: Batch) -> Tensor:
    """(B, T - 1) True at tokens whose next one is a word of the caption or its end."""
    ids, lengths = batch["text"], batch["text_length"]
    place = torch.arange(1, ids.shape[1], device=ids.device)
    first = batch["prompt_length"] if "prompt_length" in batch else torch.ones_like(lengths)
    return (place < lengths[:, None]) & (place >= first[:, None])
