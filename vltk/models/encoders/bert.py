"""BERT's embeddings in front of a stack: FLAVA's text encoder (pre-LN, arXiv 2112.04482 section 3.1) or BERT (post-LN).

Word + type + position, then LayerNorm, then the blocks. norm: pre ends with a final norm (transformers
modeling_flava.py); post has its norms behind each sum and no final one (modeling_bert.py).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vltk.errors import VltkError
from vltk.models.layers import Rows, Transformer, init_weights, padding_mask
from vltk.models.tokens import Text, Tokens


class TextTransformer(nn.Module):
    """Token ids (B, T) -> tokens (B, T, D); the first token, [CLS], stands for the text. Padding is never attended."""

    def __init__(
        self,
        *,
        vocab: int = 30522,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp: int = 3072,
        max_length: int = 512,
        eps: float = 1e-12,
        dropout: float = 0.0,
        init_std: float = 0.02,
        norm: Literal["pre", "post"] = "pre",
    ) -> None:
        super().__init__()
        self.width, self.vocab, self.max_length = width, vocab, max_length
        self.words = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(max_length, width)
        self.types = nn.Embedding(2, width)
        self.embedding_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.transformer = Transformer(width, depth, heads, mlp, eps, dropout=dropout, norm=norm)
        init_weights(self, init_std)
        nn.init.zeros_(self.words.weight[0].data)  # the pad row, as BERT starts

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, D)."""
        if ids.shape[1] > self.max_length:
            raise VltkError(f"text of {ids.shape[1]} tokens given, the encoder takes {self.max_length}: its max_length")
        x = self.words(ids) + self.types.weight[0] + self.positions.weight[: ids.shape[1]]
        return self.dropout(self.embedding_norm(x))

    def encode(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of the same texts (clean and masked ids) run as one batch."""
        text = Text.stacked(passes)
        packing = passes[0].packing
        mask = None if packing is None else padding_mask(text.lengths, text.ids.shape[1])
        hidden = self.transformer(self.embed(text.ids), mask, reads, packing)
        return [Tokens(h, self.transformer.norm, rows) for h, rows in zip(hidden, reads, strict=True)]
