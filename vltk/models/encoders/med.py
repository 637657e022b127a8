"""BLIP's multimodal mixture of encoder and decoder (arXiv 2201.12086 section 3.1): three readers of text in one.

A text alone, a text beside an image, and a text that is being written beside an image: words, cross-attention and MLPs
are one set of weights, self-attention with its norm is one for the encoder and another for the decoder (BLIP med.py,
blip_pretrain.py tie_encoder_decoder_weights). The first token says which is meant: [CLS], [ENC] or [DEC].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vltk.errors import RecipeError, VltkError
from vltk.models.grounded import Halves, Memory, SelfHalf, run
from vltk.models.layers import KeyValue, Rows, causal_mask, init_weights, padding_mask
from vltk.models.tokens import Text, Tokens

MARKS = ("[DEC]", "[ENC]")  # behind the tokens of the tokenizer, as in BLIP's init_tokenizer


class Mixture(nn.Module):
    """Token ids (B, T) -> tokens (B, T, D).

    vocab: the tokens of the tokenizer, or fewer, and two more at the end: [DEC], [ENC]. encoder, decoder: which of the
    two kinds of self-attention there are; public checkpoints for captions and for retrieval have one each.
    """

    recomputes, marks = False, MARKS

    def __init__(
        self,
        image_width: int,
        *,
        vocab: int = 30524,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp: int = 3072,
        max_length: int = 512,
        eps: float = 1e-12,
        dropout: float = 0.0,
        init_std: float = 0.02,
        encoder: bool = True,
        decoder: bool = True,
    ) -> None:
        super().__init__()
        if not (encoder or decoder):
            raise RecipeError("encoder: false given, and decoder is false too; leave one of them")
        self.width, self.vocab, self.max_length = width, vocab, max_length
        self.dec, self.enc = vocab - 2, vocab - 1
        self.shared = _Shared(vocab, width, depth, heads, mlp, max_length, eps, dropout, image_width)
        self.encoder = _attentions(width, depth, heads, eps, dropout) if encoder else None
        self.decoder = _attentions(width, depth, heads, eps, dropout) if decoder else None
        init_weights(self, init_std)
        nn.init.zeros_(self.shared.words.weight[0].data)  # the pad row, as BERT starts

    def encode(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """The text alone; [CLS] stands for it."""
        return [self._encode(text, None, rows) for text, rows in zip(passes, reads, strict=True)]

    def ground(self, texts: Text, memory: Memory, rows: Rows | None) -> Tokens:
        """Each text beside its image of `memory`; [ENC] takes the place of [CLS]."""
        return self._encode(marked(texts, self.enc), memory, rows)

    def decode(self, texts: Text, memory: Memory) -> Tokens:
        """Each text beside its image, a token sees none behind it; [DEC] takes the place of [CLS]."""
        ids = marked(texts, self.dec).ids
        x = self.embed(ids)
        mask = causal_mask(ids.shape[1], ids.device)
        return Tokens(self._run(self._half("decoder"), x, mask, memory, None), nn.Identity())

    def write(self, ids: Tensor, past: list[KeyValue] | None, look: Any) -> tuple[Tensor, list[KeyValue]]:
        """The decoder on new tokens alone: ids (R, n) behind those of `past` -> (R, D) of the last one, and all keys
        and values. look(half, x, layer): the second half of a block, over the images that the caller holds."""
        done = past[0][0].shape[2] if past else 0
        x = self.embed(ids, done)
        mask = causal_mask(ids.shape[1], ids.device, done) if ids.shape[1] > 1 else None
        held = []
        for layer, (own, half) in enumerate(self._half("decoder")):
            x, pair = own.step(x, past[layer] if past else None, mask)
            held.append(pair)
            x = look(half, x, layer)
        return x[:, -1], held

    def embed(self, ids: Tensor, first: int = 0) -> Tensor:
        """(B, T) -> (B, T, D), at the positions from `first` on."""
        if first + ids.shape[1] > self.max_length:
            given = first + ids.shape[1]
            raise VltkError(f"text of {given} tokens given, the encoder takes {self.max_length}: its max_length")
        return self.shared.embed(ids, first)

    def remember(self, image: Tensor) -> Memory:
        """Image states (I, N, Di) after their final norm -> what every layer asks of them."""
        return self.shared.blocks.remember(image)

    def _encode(self, texts: Text, memory: Memory | None, rows: Rows | None) -> Tokens:
        x = self.embed(texts.ids)
        mask = padding_mask(texts.lengths, texts.ids.shape[1])
        return Tokens(self._run(self._half("encoder"), x, mask, memory, rows), nn.Identity(), rows)

    def _half(self, mode: str) -> list[tuple[Any, Any]]:
        own = getattr(self, mode)
        if own is None:
            raise VltkError(f"the model has no {mode} of text (model.text.{mode}: false)")
        return list(zip(own, self.shared.blocks, strict=True))

    def _run(
        self, stack: list[tuple[Any, Any]], x: Tensor, mask: Tensor, memory: Memory | None, rows: Rows | None
    ) -> Tensor:
        return run(stack, x, mask, memory, rows, self.recomputes and torch.is_grad_enabled())


class _Shared(nn.Module):
    """What encoder and decoder have in common."""

    def __init__(
        self,
        vocab: int,
        width: int,
        depth: int,
        heads: int,
        mlp: int,
        max_length: int,
        eps: float,
        dropout: float,
        image_width: int,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(max_length, width)
        self.embedding_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.blocks = Halves(width, depth, heads, mlp, eps, dropout, image_width)

    def embed(self, ids: Tensor, first: int) -> Tensor:
        x = self.words(ids) + self.positions.weight[first : first + ids.shape[1]]
        return self.dropout(self.embedding_norm(x))


def _attentions(width: int, depth: int, heads: int, eps: float, dropout: float) -> nn.ModuleList:
    return nn.ModuleList(SelfHalf(width, heads, eps, dropout) for _ in range(depth))


def marked(texts: Text, mark: int) -> Text:
    """The same texts with another first token."""
    ids = texts.ids.clone()
    ids[:, 0] = mark
    return Text(ids, texts.lengths)
