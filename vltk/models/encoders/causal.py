"""CLIP's text tower: a causal transformer read at the end-of-text token (arXiv 2103.00020 section 2.4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from vltk.errors import VltkError
from vltk.models.layers import Rows, Transformer, causal_mask, init_weights
from vltk.models.tokens import Text, Tokens


class CausalTransformer(nn.Module):
    """Token ids (B, T) -> tokens (B, T, D); the last real token stands for the text.

    A token never sees those behind it, so padding needs no mask.
    """

    def __init__(
        self,
        *,
        vocab: int = 49408,
        width: int = 512,
        depth: int = 12,
        heads: int = 8,
        mlp: int = 2048,
        max_length: int = 77,
        eps: float = 1e-5,
        activation: Literal["gelu", "quick_gelu"] = "quick_gelu",
        dropout: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.width, self.vocab, self.max_length = width, vocab, max_length
        self.words = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(max_length, width)
        self.transformer = Transformer(width, depth, heads, mlp, eps, activation, dropout)
        init_weights(self, init_std)
        nn.init.normal_(self.positions.weight, std=0.01)  # openai/CLIP model.py

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, D)."""
        if ids.shape[1] > self.max_length:
            raise VltkError(f"text of {ids.shape[1]} tokens given, the encoder takes {self.max_length}: its max_length")
        return self.words(ids) + self.positions.weight[: ids.shape[1]]

    def encode(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of the same texts run as one batch; `Rows.first` of a pass means its last real token."""
        text = Text.stacked(passes)
        reads = [None if rows is None else _ends(part) for part, rows in zip(passes, reads, strict=True)]
        mask = causal_mask(text.ids.shape[1], text.ids.device)
        hidden = self.transformer(self.embed(text.ids), mask, reads, passes[0].packing)
        return [
            Tokens(h, self.transformer.norm, rows, part.lengths - 1)
            for h, rows, part in zip(hidden, reads, passes, strict=True)
        ]


def _ends(text: Text) -> Rows:
    return Rows((text.lengths - 1)[:, None], torch.ones_like(text.lengths[:, None], dtype=torch.bool))
