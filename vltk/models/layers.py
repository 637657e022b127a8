"""The one transformer block of every encoder: pre-LN (ViT, arXiv 2010.11929) or post-LN (BERT, arXiv 1810.04805).

Shapes: B batch, N tokens, K real tokens of the batch, R rows read, D width, H heads. Padded sequences are packed: all
but attention runs on (K, D). A last block runs its queries only at the rows that are read (`Rows`); keys and values
always come from all tokens, so the result equals the full computation at those rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vltk.errors import RecipeError
from vltk.models.packing import Packing

KeyValue = tuple[Tensor, Tensor]  # of one layer, each (B, H, N, D/H)


@dataclass(frozen=True)
class Rows:
    """Token positions that somebody reads: `index` (B, R) ascending a sample, `valid` (B, R) False where padded."""

    index: Tensor
    valid: Tensor

    @classmethod
    def first(cls, tokens: Tensor) -> Rows:
        """Position 0 of each sample of `tokens` (B, ...): the CLS token."""
        index = torch.zeros(len(tokens), 1, dtype=torch.long, device=tokens.device)
        return cls(index, torch.ones_like(index, dtype=torch.bool))

    @classmethod
    def where(cls, mask: Tensor) -> Rows:
        """The True positions of `mask` (B, N), padded to the largest count of the batch."""
        most = max(1, int(mask.sum(1).max()))
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]  # True first, ascending
        return cls(order, mask.gather(1, order))

    def take(self, tokens: Tensor, packing: Packing | None = None) -> Tensor:
        """(B, N, D), or (K, D) packed, -> (B, R, D)."""
        if packing is not None:
            return tokens.index_select(0, packing.numbers(self.index).flatten()).view(*self.index.shape, -1)
        return tokens.gather(1, self.index[..., None].expand(-1, -1, tokens.shape[-1]))


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise RecipeError(f"heads: {heads} given, into which the width {width} does not divide")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, rows: Rows | None = None, packing: Packing | None = None
    ) -> Tensor:
        """x (B, N, D), mask additive and broadcastable to (B, H, N, N) -> (B, N, D), or (B, R, D) with `rows`.

        With `packing` x is (K, D), and so is what comes back without `rows`.
        """
        width = x.shape[-1]
        if rows is None:
            query, key, value = _padded(self.qkv(x), packing).chunk(3, dim=-1)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            query = F.linear(rows.take(x, packing), weight[:width], bias[:width])
            key, value = _padded(F.linear(x, weight[width:], bias[width:]), packing).chunk(2, dim=-1)
            mask = _mask_at(mask, rows)
        query, key, value = (_split(part, self.heads) for part in (query, key, value))
        attended = _merge(attend(query, key, value, mask))
        return self.out(attended if packing is None or rows is not None else packing.pack(attended))

    def step(self, x: Tensor, past: KeyValue | None, mask: Tensor | None) -> tuple[Tensor, KeyValue]:
        """x (R, n, D), the tokens behind those of `past` -> (R, n, D), and the keys and values of all of them."""
        query, key, value = (_split(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        return self.out(_merge(attend(query, key, value, mask))), (key, value)


class CrossAttention(nn.Module):
    """Text tokens of `width` ask image tokens of `image_width`, whose keys and values are made once an image."""

    def __init__(self, width: int, heads: int, image_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(image_width, 2 * width)
        self.out = nn.Linear(width, width)

    def remember(self, image: Tensor) -> KeyValue:
        """(I, N, Di) -> 2 x (I, H, N, D/H)."""
        key, value = self.key_value(image).chunk(2, dim=-1)
        return _split(key, self.heads), _split(value, self.heads)

    def forward(self, x: Tensor, image: KeyValue) -> Tensor:
        """x (I, R, D) over the keys and values of as many images -> (I, R, D)."""
        return self.out(_merge(attend(_split(self.query(x), self.heads), *image, None)))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """(B, H, R, D/H), 2 x (B, H, N, D/H) -> (B, H, R, D/H).

    On CPU plain matmul and softmax: `scaled_dot_product_attention` forward and backward is 2.4 to 7 times slower there
    in bf16 at these lengths, and equal in fp32.
    """
    if query.device.type != "cpu":
        mask = None if mask is None else mask.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)  # (B, H, R, N)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    return scores.softmax(-1).to(value.dtype) @ value


def _padded(x: Tensor, packing: Packing | None) -> Tensor:
    return x if packing is None else packing.pad(x)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, N, D) -> (B, H, N, D/H)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (B, H, N, D/H) -> (B, N, D)


def _mask_at(mask: Tensor | None, rows: Rows) -> Tensor | None:
    if mask is None or mask.shape[-2] == 1:
        return mask
    mask = mask.expand(len(rows.index), -1, -1, -1)  # (B, 1, N, N)
    return mask.gather(2, rows.index[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[-1]))


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x): the activation of OpenAI's CLIP weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "quick_gelu": QuickGelu}


class DropPath(nn.Dropout):
    """Leaves a branch out of whole samples with probability p (stochastic depth, arXiv 1603.09382)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), zero or divided by 1 - p."""
        assert x.dim() == 3, "packed tokens know no samples"
        return x * F.dropout(x.new_ones(len(x), 1, 1), self.p, self.training)


class Block(nn.Module):
    """pre: x += attention(norm(x)); x += mlp(norm(x)). post: x = norm(x + attention(x)); x = norm(x + mlp(x))."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp: int,
        eps: float,
        activation: str,
        dropout: float,
        drop_path: float = 0.0,
        norm: str = "pre",
    ) -> None:
        super().__init__()
        self.post = norm == "post"
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, mlp), ACTIVATIONS[activation](), nn.Linear(mlp, width))
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(
        self, x: Tensor, mask: Tensor | None = None, rows: Rows | None = None, packing: Packing | None = None
    ) -> Tensor:
        """(B, N, D), or (K, D) packed, -> the same, or (B, R, D) at `rows`."""
        attended = self.attention(x if self.post else self.attention_norm(x), mask, rows, packing)
        x = (x if rows is None else rows.take(x, packing)) + self.drop_path(self.dropout(attended))
        if self.post:
            x = self.attention_norm(x)
            return self.mlp_norm(x + self.drop_path(self.dropout(self.mlp(x))))
        return x + self.drop_path(self.dropout(self.mlp(self.mlp_norm(x))))


class Transformer(nn.Module):
    """A stack of blocks and the final norm, which the caller applies where the normalised states are read.

    drop_path: how probably a branch of the last block is left out of a sample; even steps to there from 0 in the first.
    Post-LN blocks end in a norm of their own: there the final one changes nothing. Where `recomputes` is set, backward
    finds only the inputs of the blocks, and computes what is between them again (arXiv 1604.06174).
    """

    recomputes = False

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp: int,
        eps: float,
        activation: str = "gelu",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: str = "pre",
    ) -> None:
        super().__init__()
        rates = [drop_path * number / max(1, depth - 1) for number in range(depth)]
        self.blocks = nn.ModuleList(Block(width, heads, mlp, eps, activation, dropout, rate, norm) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=eps) if norm == "pre" else nn.Identity()

    def forward(
        self, x: Tensor, mask: Tensor | None, reads: list[Rows | None], packing: Packing | None = None
    ) -> list[Tensor]:
        """Runs `len(reads)` passes that lie behind one another in the batch, the last block only where each is read.

        x (P * B, N, D), mask for that batch or one that broadcasts, reads one entry a pass (None: all rows), packing
        of a pass, the same for each -> P tensors (B, R, D) before the final norm.
        """
        passes = len(reads)
        whole = None if packing is None else packing.repeated(passes)
        x = x if whole is None else whole.pack(x)
        for block in self.blocks[:-1]:
            x = self._run(block, x, mask, None, whole)
        last = self.blocks[-1]
        if all(rows is None for rows in reads):
            return list(_padded(self._run(last, x, mask, None, whole), whole).chunk(passes))
        masks = [mask] * passes if mask is None or mask.shape[0] == 1 else list(mask.chunk(passes))
        hidden = [self._run(last, *given, packing) for given in zip(x.chunk(passes), masks, reads, strict=True)]
        return [_padded(h, packing) if rows is None else h for h, rows in zip(hidden, reads, strict=True)]

    def _run(self, block: nn.Module, *inputs: Tensor | Rows | Packing | None) -> Any:
        if self.recomputes and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


def padding_mask(lengths: Tensor, size: int) -> Tensor:
    """lengths (B,) -> (B, 1, 1, N) additive: 0 at real tokens, -inf at padding."""
    padded = torch.arange(size, device=lengths.device) >= lengths[:, None]  # (B, N)
    return torch.zeros(padded.shape, device=lengths.device).masked_fill_(padded, float("-inf"))[:, None, None]


def causal_mask(size: int, device: torch.device, past: int = 0) -> Tensor:
    """(1, 1, N, past + N) additive: a token sees itself and those before it, `past` of which were there already."""
    return torch.full((size, past + size), float("-inf"), device=device).triu(1 + past)[None, None]


def init_weights(module: nn.Module, std: float = 0.02) -> None:
    """N(0, std) for linear, convolution and embedding weights, zero biases, unit norms (FLAVA's and BERT's start).

    0.02 suits their width, 768; a narrow model starts so near to zero that it hardly learns (docs/recipes.md).
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear | nn.Conv2d) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
