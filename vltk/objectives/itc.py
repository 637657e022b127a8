"""Image-text contrastive loss: CLIP (arXiv 2103.00020, figure 3), global in FLAVA (arXiv 2112.04482 section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk import dist
from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Views, positive, same_embeddings

Share = Annotated[float, Field(ge=0, lt=1)]


class ImageTextContrastive(nn.Module):
    """Each matched image finds its text among all texts of the step, and each matched text its image.

    Mismatched pairs are never rows, only columns. Gradients flow through the gather to the rank that owns a column.
    gather: `global`, as above; `local`, the columns of other ranks are constants (FLAVA's "local contrastive", the
    ablation of its table C.1); `none`, a rank's own columns alone. On one device all three are the same.
    label_smoothing and drop_words, the share of words left out of a text at random: 0 in CLIP and FLAVA.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        drop_words: Share = 0.0,
        weight: float = 1.0,
        gather: Literal["global", "local", "none"] = "global",
    ) -> None:
        super().__init__()
        text: dict[str, Any] = {"maker": "text"} | ({"drop": drop_words} if drop_words else {})
        self.views: Views = {"image": {"maker": "image"}, "text": text}
        self.label_smoothing, self.weight = label_smoothing, weight
        self.gather = gather

    def reads(self, views: set[str]) -> set[Read]:
        return {("image", "cls"), ("text", "cls")}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"itc": positive(batch, batch["text"]).sum()}

    def embed(self, encoded: Encoded) -> tuple[Tensor, ...]:
        """Images (B, E), texts (B, E), scale ()."""
        model = encoded.model
        return model.embed_image(encoded["image"]), model.embed_text(encoded["text"]), model.scale()

    def compare(self, *embedded: Tensor, batch: Batch) -> Losses:
        image, text, scale = embedded
        with torch.autocast(image.device.type, enabled=False):  # fp32, as when micro-batches are joined
            return self._compare(image, text, scale, positive(batch, image))

    def _compare(self, image: Tensor, text: Tensor, scale: Tensor, rows: Tensor) -> Losses:
        """image, text (B, E), scale (), rows (B,) True at matched pairs."""
        every, first = self._columns(torch.stack([image, text], dim=1))  # (G, 2, E)
        target = (first + torch.arange(len(image), device=image.device))[rows]
        to_text = scale * (image[rows] @ every[:, 1].T)  # (B', G)
        to_image = scale * (text[rows] @ every[:, 0].T)
        loss = (self._entropy(to_text, target) + self._entropy(to_image, target)) / 2
        hits = (to_text.argmax(1) == target).float() + (to_image.argmax(1) == target).float()
        chance = scale.detach().new_tensor(math.log(len(every)))
        metrics = {"itc_accuracy": hits.mean() / 2, "logit_scale": scale.detach(), "itc_chance": chance}
        return Losses({"itc": self.weight * loss}, metrics)

    def at_chance(self, losses: Mapping[str, float], metrics: Mapping[str, float]) -> str | None:
        return same_embeddings(losses["itc"] / self.weight, metrics["itc_chance"]) if self.weight else None

    def _columns(self, own: Tensor) -> tuple[Tensor, int]:
        """This rank's pairs (B, 2, E) -> all that they are compared with (G, 2, E), and where their own begin there."""
        first = dist.rank() * len(own)
        if self.gather == "global":
            return dist.gather_with_grad(own), first
        if self.gather == "none":
            return own, 0
        every = dist.gather(own)
        return torch.cat([every[:first], own, every[first + len(own) :]]), first

    def forward(self, encoded: Encoded, step: int) -> Losses:
        return self.compare(*self.embed(encoded), batch=encoded.batch)

    def _entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, reduction="sum", label_smoothing=self.label_smoothing)
