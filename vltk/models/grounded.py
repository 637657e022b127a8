"""Post-LN blocks of text that looks at an image: self-attention, cross-attention, MLP (BLIP med.py, ALBEF xbert.py).

The two halves of a block are modules of their own, as BLIP's encoder and decoder share the second one. Shapes: P texts,
T tokens, R rows read, D width, I images, N image tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vltk.models.layers import ACTIVATIONS, Attention, CrossAttention, KeyValue, Rows

Memory = list[KeyValue]  # what each layer asks of the images, each (I, H, N, D/H)


class SelfHalf(nn.Module):
    """x = norm(x + attention(x))."""

    def __init__(self, width: int, heads: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, rows: Rows | None = None) -> Tensor:
        """(P, T, D) -> (P, T, D), or (P, R, D) at `rows`."""
        attended = self.attention(x, mask, rows)
        return self.norm((x if rows is None else rows.take(x)) + self.dropout(attended))

    def step(self, x: Tensor, past: KeyValue | None, mask: Tensor | None) -> tuple[Tensor, KeyValue]:
        """(P, n, D) behind the tokens of `past` -> (P, n, D), and the keys and values of all tokens."""
        attended, held = self.attention.step(x, past, mask)
        return self.norm(x + self.dropout(attended)), held


class ImageHalf(nn.Module):
    """x = norm(x + cross(x, image)), left out where there is no image; x = norm(x + mlp(x))."""

    def __init__(self, width: int, heads: int, mlp: int, eps: float, dropout: float, image_width: int) -> None:
        super().__init__()
        self.cross = CrossAttention(width, heads, image_width)
        self.cross_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, mlp), ACTIVATIONS["gelu"](), nn.Linear(mlp, width))
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, image: KeyValue | None) -> Tensor:
        """x (P, R, D), keys and values of P images -> (P, R, D)."""
        if image is not None:
            x = self.cross_norm(x + self.dropout(self.cross(x, image)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class Halves(nn.ModuleList):
    """The second halves of a stack."""

    def __init__(
        self, width: int, depth: int, heads: int, mlp: int, eps: float, dropout: float, image_width: int
    ) -> None:
        super().__init__(ImageHalf(width, heads, mlp, eps, dropout, image_width) for _ in range(depth))

    def remember(self, image: Tensor) -> Memory:
        """Image states (I, N, Di) -> what every layer asks of them."""
        return [half.cross.remember(image) for half in self]  # type: ignore[union-attr, operator]


def run(
    stack: Iterable[tuple[nn.Module, nn.Module]],
    x: Tensor,
    mask: Tensor | None,
    memory: Memory | None,
    rows: Rows | None,
    recomputes: bool = False,
) -> Tensor:
    """x (P, T, D) through all blocks, beside the images of `memory`, one a text; the last block only at `rows`."""
    layers = list(stack)
    for number, (own, other) in enumerate(layers):
        image = None if memory is None else memory[number]
        at = rows if number == len(layers) - 1 else None
        inputs = (own, other, x, mask, image, at)
        x = checkpoint(_block, *inputs, use_reentrant=False) if recomputes else _block(*inputs)
    return x


def taken(memory: Memory, rows: Tensor) -> Memory:
    """The images of these numbers (P,), as often as they are named."""
    return [(key[rows], value[rows]) for key, value in memory]


def _block(
    own: nn.Module, other: nn.Module, x: Tensor, mask: Tensor | None, image: KeyValue | None, rows: Rows | None
) -> Tensor:
    return other(own(x, mask, rows), image)
