"""Keeps a codebook in use: the mean distribution of the codes over a step is drawn to the uniform one.

Ours, for tokenizers trained for hundreds of steps instead of DALL-E's millions: without it a few codes take everything.
Unlike the KL term of `dvae` it leaves each position free to be certain of its code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vltk import dist
from vltk.models.encoded import Encoded
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses

LEAST = 1e-12  # of a share: at 0 the entropy has no gradient


class CodeUsage(nn.Module):
    """KL from the mean code distribution of all images of the step to the uniform one over K codes."""

    def __init__(self, *, weight: float = 0.1) -> None:
        super().__init__()
        self.views = {"image": {"maker": "image"}}
        self.weight = weight

    def reads(self, views: set[str]) -> set[Read]:
        return set()

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"code_usage": batch["image"].new_tensor(len(batch["image"]), dtype=torch.long)}

    def embed(self, encoded: Encoded) -> tuple[Tensor, ...]:
        """(B, K): the mean distribution of each image's positions."""
        return (encoded.code_logits.softmax(1).mean((2, 3)),)

    def compare(self, *embedded: Tensor, batch: Batch) -> Losses:
        (own,) = embedded
        share = dist.gather_with_grad(own).mean(0).clamp(min=LEAST)  # (K,)
        divergence = math.log(len(share)) - torch.special.entr(share).sum()
        return Losses({"code_usage": self.weight * len(own) * divergence})

    def forward(self, encoded: Encoded, step: int) -> Losses:
        return self.compare(*self.embed(encoded), batch=encoded.batch)
