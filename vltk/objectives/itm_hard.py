"""Image-text matching with hard negatives (ALBEF, arXiv 2107.07651 section 3.2; BLIP, arXiv 2201.12086 section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Views, at_prior, both_views
from vltk.objectives._peers import drawn, grouped, peer_views, same_image

Size = Annotated[int, Field(gt=1)]
Share = Annotated[float, Field(ge=0)]


class HardMatching(nn.Module):
    """Two-class cross-entropy of each pair, and of two wrong ones: its text with another image, its image with another
    text; class 1 is a match.

    Others are drawn from the `among` samples of the group by the softmax of their similarity to it, plus `floor`; never
    one of the same image. Similarities are the model's own, as in BLIP's blip_retrieval.py (where BLIP and ALBEF
    pretrain the other side is the teacher's). A sample whose group shows no other image has no wrong pairs.
    """

    def __init__(self, model: Any, *, among: Size = 75, floor: Share = 1e-4, weight: float = 1.0) -> None:
        super().__init__()
        self.views: Views = both_views() | peer_views(among)
        self.among, self.floor, self.weight = among, floor, weight
        self._read: set[Read] = {("image", "cls"), ("text", "cls")} | {(name, "all") for name in model.fused_from}

    def reads(self, views: set[str]) -> set[Read]:
        return self._read

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"itm": len(batch["image_id"]) + 2 * self._has_peer(batch).sum()}

    def forward(self, encoded: Encoded, step: int) -> Losses:
        batch = encoded.batch
        every = torch.arange(len(batch["text"]), device=batch["text"].device)
        images, texts = self._negatives(encoded)
        image_rows, text_rows = torch.cat([every, images, every]), torch.cat([every, every, texts])
        logits = encoded.model.match(encoded.pair(image_rows, text_rows)).float()  # (3 B, 2)
        target = torch.cat([torch.ones_like(every), torch.zeros_like(every), torch.zeros_like(every)])
        counted = torch.cat([torch.ones_like(target[: len(every)]), *[self._has_peer(batch).long()] * 2])
        loss = (F.cross_entropy(logits, target, reduction="none") * counted).sum()
        hits = ((logits.detach().argmax(1) == target) * counted).sum() / counted.sum()
        matched = (target * counted).sum() / counted.sum()
        return Losses({"itm": self.weight * loss}, {"itm_accuracy": hits, "itm_matched": matched})

    def at_chance(self, losses: Mapping[str, float], metrics: Mapping[str, float]) -> str | None:
        """0.6365 of one match in three: BLIP#200, BLIP#152, LAVIS#266."""
        return at_prior(losses["itm"] / self.weight, metrics["itm_matched"]) if self.weight else None

    def _has_peer(self, batch: Batch) -> Tensor:
        """(B,) whether the sample's group shows another image."""
        return (~same_image(batch, self.among)).any(-1).flatten()

    @torch.no_grad()
    def _negatives(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """(B,) the number of another image for each text, (B,) that of another text for each image."""
        model, batch = encoded.model, encoded.batch
        image = grouped(model.embed_image(encoded["image"]), self.among)  # (k, g, E)
        text = grouped(model.embed_text(encoded["text"]), self.among)
        with torch.autocast(image.device.type, enabled=False):
            similarity = model.scale() * (image @ text.transpose(1, 2))  # (k, g images, g texts)
        own = same_image(batch, self.among)
        return (
            self._others(similarity.transpose(1, 2), own, batch["image_lot"]),
            self._others(similarity, own, batch["text_lot"]),
        )

    def _others(self, similarity: Tensor, own: Tensor, lots: Tensor) -> Tensor:
        """similarity (k, g, g), lots (B,) -> (B,)."""
        weights = (similarity.softmax(-1) + self.floor).masked_fill(own, 0)
        first = torch.arange(len(weights), device=weights.device)[:, None] * weights.shape[-1]
        return (drawn(weights, grouped(lots, self.among)) + first).flatten()
