"""FLAVA's multimodal encoder: one transformer over image and text tokens together (arXiv 2112.04482 section 3.1).

The sequence is [CLS_M, CLS_I, patches, text tokens]: the unimodal states before their final norm, each through a
linear projection; no positions and no type embeddings are added (transformers modeling_flava.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vltk.models.layers import Rows, Transformer, init_weights, padding_mask
from vltk.models.packing import Packing
from vltk.models.tokens import Text, Tokens


class JointTransformer(nn.Module):
    """Image tokens (B, 1 + N, Di) and text tokens (B, T, Dt) -> fused tokens (B, 1 + 1 + N + T, D)."""

    def __init__(
        self,
        image_width: int,
        text_width: int,
        *,
        width: int = 768,
        depth: int = 6,
        heads: int = 12,
        mlp: int = 3072,
        eps: float = 1e-12,
        dropout: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.width = width
        self.image_projection = nn.Linear(image_width, width)
        self.text_projection = nn.Linear(text_width, width)
        self.cls = nn.Parameter(torch.zeros(width))
        self.transformer = Transformer(width, depth, heads, mlp, eps, dropout=dropout)
        init_weights(self, init_std)
        nn.init.normal_(self.cls, std=0.02)  # ours, as in encoders/vit.py

    def forward(self, image: Tokens, text: Tokens, lengths: Tensor, rows: Rows | None = None) -> Tokens:
        """`lengths` (B,) are the real text tokens; padding is never attended."""
        patches = self.image_projection(image.before_norm)  # (B, 1 + N, D)
        words = self.text_projection(text.before_norm)  # (B, T, D)
        x = torch.cat([self.cls.to(words.dtype).expand(len(words), 1, -1), patches, words], dim=1)
        whole = 1 + patches.shape[1] + lengths
        packing = Packing.of(whole, x.shape[1])
        mask = None if packing is None else padding_mask(whole, x.shape[1])
        return Tokens(self.transformer(x, mask, [rows], packing)[0], self.transformer.norm, rows)


def fused_rows(image_at: Tensor | None, text_at: Tensor | None, text: Text, patches: int) -> Tensor:
    """Masks over patches (B, N) and text tokens (B, T) -> one mask over the joint sequence (B, 2 + N + T), CLS_M in."""
    size = len(text.ids)
    first = torch.zeros(size, 2, dtype=torch.bool, device=text.ids.device)
    first[:, 0] = True
    image_at = first.new_zeros(size, patches) if image_at is None else image_at
    text_at = first.new_zeros(text.ids.shape) if text_at is None else text_at
    return torch.cat([first, image_at, text_at], dim=1)
