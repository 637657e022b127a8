"""Image-text contrast with a momentum teacher, queues and soft targets (ALBEF, arXiv 2107.07651 section 3; BLIP).

Checked against salesforce/BLIP blip_pretrain.py and ALBEF model_pretrain.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk import dist
from vltk.errors import RecipeError
from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Momentum, Views, both_views, same_embeddings
from vltk.objectives._peers import grouped, peer_views
from vltk.objectives._soft import ramp, soft_cross_entropy, soft_targets

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(gt=0)]
KEPT = ("itc_image", "itc_text", "itc_ids")
NOTHING = -1  # the image of a key that was never written

Keys = tuple[Tensor, Tensor]  # of images and of texts, (B, E) normalised


class MomentumContrast(nn.Module):
    """Each image against what the teacher says of the texts of its group and of the queue, and each text of the images.

    The target is one-hot at its own, mixed with the teacher's distribution by `alpha`, which rises from 0 over
    `alpha_steps`. The teacher keeps `momentum` of its weights in a step. queue: how many of the newest keys of each
    side are kept, noise at first; a step adds those of all its samples in their order, and its size need not divide it.
    among: samples of a group, those of a GPU in the papers. same_image: keys of the same image, with other captions,
    share the target, as ALBEF's and BLIP's fine-tunings for retrieval mean it.
    """

    ends_with_teacher = False
    image_queue: Tensor
    text_queue: Tensor
    queue_ids: Tensor
    queue_at: Tensor

    def __init__(
        self,
        model: Any,
        steps: int,
        *,
        queue: Size = 57600,
        momentum: Share = 0.995,
        alpha: Share = 0.4,
        alpha_steps: Count = 0,
        among: Size = 75,
        same_image: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if model.embedding is None:
            raise RecipeError("compares embeddings of images and texts, and the model has none of one of them")
        self.views: Views = both_views() | peer_views(among)
        self.momentum = Momentum(momentum, momentum, steps)
        self.alpha, self.alpha_steps, self.among = alpha, alpha_steps, among
        self.same_image, self.weight = same_image, weight
        self.register_buffer("image_queue", F.normalize(torch.randn(queue, model.embedding), dim=-1))
        self.register_buffer("text_queue", F.normalize(torch.randn(queue, model.embedding), dim=-1))
        self.register_buffer("queue_ids", torch.full((queue,), NOTHING))
        self.register_buffer("queue_at", torch.zeros((), dtype=torch.long))

    def reads(self, views: set[str]) -> set[Read]:
        return {("image", "cls"), ("text", "cls")}

    def teacher_reads(self, views: set[str]) -> set[Read]:
        return self.reads(views)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"itc": batch["text"].new_tensor(len(batch["text"]))}

    def teach(self, encoded: Encoded) -> Keys:
        """(B, E), (B, E): the keys of images and texts."""
        return encoded.model.embed_image(encoded["image"]), encoded.model.embed_text(encoded["text"])

    def forward(self, encoded: Encoded, step: int, taught: Keys) -> Losses:
        model, batch = encoded.model, encoded.batch
        image, text = model.embed_image(encoded["image"]), model.embed_text(encoded["text"])
        with torch.autocast(image.device.type, enabled=False):
            losses = self._compare((image, text), taught, model.scale(), batch, step)
        losses.kept = dict(zip(KEPT, (*taught, batch["image_id"]), strict=True))
        return losses

    def _compare(self, own: Keys, taught: Keys, scale: Tensor, batch: Batch, step: int) -> Losses:
        alpha = ramp(self.alpha, step, self.alpha_steps)
        hard = self._hard(batch)  # (k, g, C)
        loss, hits = scale.new_zeros(()), scale.new_zeros(())
        queues = (self.image_queue, self.text_queue)
        for side in (0, 1):
            keys, queue = taught[1 - side], queues[1 - side]
            logits = scale * self._similarity(own[side], keys, queue)  # (k, g, C)
            with torch.no_grad():
                teacher = scale * self._similarity(taught[side], keys, queue)
                hits += hard.gather(-1, logits.argmax(-1, keepdim=True)).gt(0).float().mean()
            loss = loss + soft_cross_entropy(logits, soft_targets(teacher, hard, alpha)).sum() / 2
        chance = scale.new_tensor(math.log(hard.shape[-1]))
        metrics = {"itc_accuracy": hits / 2, "logit_scale": scale.detach(), "itc_chance": chance}
        return Losses({"itc": self.weight * loss}, metrics | {"itc_alpha": scale.new_tensor(alpha)})

    def _similarity(self, rows: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
        """rows, keys (B, E), queue (Q, E) -> (k, g, g + Q)."""
        rows, keys = grouped(rows, self.among), grouped(keys, self.among)
        return torch.cat([rows @ keys.transpose(1, 2), rows @ queue.T], dim=-1)

    def _hard(self, batch: Batch) -> Tensor:
        """(k, g, g + Q): 1 at the own key, or an equal share at every key of the same image."""
        ids = grouped(batch["image_id"], self.among)
        if not self.same_image:
            groups, size = ids.shape
            eye = torch.eye(size, size + len(self.queue_ids), device=ids.device)
            return eye.expand(groups, -1, -1)
        columns = torch.cat([ids, self.queue_ids.expand(len(ids), -1)], dim=1)
        same = (ids[:, :, None] == columns[:, None]).float()
        return same / same.sum(-1, keepdim=True)

    @torch.no_grad()
    def after_step(self, kept: Mapping[str, Sequence[Tensor]], step: int) -> dict[str, Tensor]:
        """Writes the keys of all samples of the step over the oldest ones."""
        image, text, ids = (dist.gather(torch.cat(list(kept[name])))[-len(self.queue_ids) :] for name in KEPT)
        at = (self.queue_at + torch.arange(len(ids), device=ids.device)) % len(self.queue_ids)
        for queue, keys in ((self.image_queue, image), (self.text_queue, text), (self.queue_ids, ids)):
            queue[at] = keys.to(queue.dtype)
        self.queue_at.copy_((self.queue_at + len(ids)) % len(self.queue_ids))
        return {}

    def at_chance(self, losses: Mapping[str, float], metrics: Mapping[str, float]) -> str | None:
        return same_embeddings(losses["itc"] / self.weight, metrics["itc_chance"]) if self.weight else None
