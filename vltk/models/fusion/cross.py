"""ALBEF's multimodal encoder: text that looks at an image in every block (arXiv 2107.07651 section 3.1; xbert.py).

The upper half of a BERT: post-LN blocks with self-attention, cross-attention to the image states after their final
norm, and an MLP, over the states of the text encoder below. A position of the text keeps its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vltk.errors import RecipeError
from vltk.models.grounded import Halves, Memory, SelfHalf, run
from vltk.models.layers import Rows, init_weights, padding_mask
from vltk.models.tokens import Tokens


class CrossTransformer(nn.Module):
    """Image tokens (B, 1 + N, Di) and text tokens (B, T, D) -> fused tokens (B, T, D); [CLS] stands for the pair."""

    recomputes = False

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
        if width != text_width:
            raise RecipeError(f"width: {width} given, but it continues the text encoder, whose width is {text_width}")
        self.width = width
        self.attentions = nn.ModuleList(SelfHalf(width, heads, eps, dropout) for _ in range(depth))
        self.blocks = Halves(width, depth, heads, mlp, eps, dropout, image_width)
        init_weights(self, init_std)

    def remember(self, image: Tensor) -> Memory:
        """Image states (I, N, Di) after their final norm -> what every layer asks of them."""
        return self.blocks.remember(image)

    def read(self, memory: Memory, text: Tokens, lengths: Tensor, rows: Rows | None = None) -> Tokens:
        """Each text beside its image of `memory`; `lengths` (B,) are the real tokens; padding is never attended."""
        x = text.normed
        stack = zip(self.attentions, self.blocks, strict=True)
        again = self.recomputes and torch.is_grad_enabled()
        return Tokens(run(stack, x, padding_mask(lengths, x.shape[1]), memory, rows, again), nn.Identity(), rows)

    def forward(self, image: Tokens, text: Tokens, lengths: Tensor, rows: Rows | None = None) -> Tokens:
        """`read` of images that nothing else looks at."""
        return self.read(self.remember(image.normed), text, lengths, rows)
