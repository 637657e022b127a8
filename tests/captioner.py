"""A toy captioner and filter: a causal text decoder that sees its image, and a matching head, at random weights.

It answers the verbs of a family: what generation asks (`begin_captions`, `next_logits`, `caption_start`), and what
filtering asks (`encode_images`, `encode_texts`, `ground`, `pair`, `match`, `embed_image`, `embed_text`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.models.layers import Rows
from vltk.models.tokens import Text, Tokens


@dataclass(frozen=True)
class ToyState:
    """Image vectors (N, D), the image of each row (R,), and the keys and values (R, n, D) of each layer."""

    images: Tensor
    owner: Tensor
    cache: list[tuple[Tensor, Tensor]]

    def take(self, rows: Tensor) -> ToyState:
        return replace(self, owner=self.owner[rows], cache=[(key[rows], value[rows]) for key, value in self.cache])


class ToyCaptioner(nn.Module):
    """Two layers of causal attention over words to which a vector of the image was added."""

    fused_from = ("image", "text")

    def __init__(
        self, vocab: int, width: int = 32, longest: int = 64, std: float = 0.3, prompt: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.patch = nn.Linear(3 * 16, width)
        self.words, self.places = nn.Embedding(vocab, width), nn.Embedding(longest, width)
        self.layers = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.head = nn.Linear(width, vocab)
        self.matching = nn.Linear(width, 2)
        self.runs = 0  # images that were encoded for captions
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=std)

    def _vectors(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 -> (N, D)."""
        return self.patch(F.adaptive_avg_pool2d(images.float() / 255, 4).flatten(1))

    def caption_start(self, tokenizer: Any) -> tuple[list[int], int]:
        return [tokenizer.cls, *self.prompt], tokenizer.sep

    def begin_captions(self, images: Tensor) -> ToyState:
        self.runs += len(images)
        vectors = self._vectors(images)
        none = vectors.new_zeros(len(vectors), 0, vectors.shape[1])
        return ToyState(vectors, torch.arange(len(vectors)), [(none, none) for _ in self.layers])

    def next_logits(self, ids: Tensor, state: ToyState) -> Tensor:
        seen = state.cache[0][0].shape[1]
        x = self.words(ids) + self.places.weight[seen : seen + ids.shape[1]] + state.images[state.owner][:, None]
        for number, layer in enumerate(self.layers):
            query, key, value = layer(x).chunk(3, -1)
            key, value = (torch.cat(pair, 1) for pair in zip(state.cache[number], (key, value), strict=True))
            state.cache[number] = (key, value)
            hidden = torch.ones(ids.shape[1], key.shape[1], dtype=torch.bool).triu(seen + 1)
            x = x + (query @ key.mT).masked_fill(hidden, float("-inf")).softmax(-1) @ value
        return self.head(x[:, -1]).float()

    def encode_images(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        return [Tokens(self._vectors(images)[:, None], nn.Identity())]

    def encode_texts(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        (text,) = passes
        hidden = (self.words(text.ids) * text.real[..., None]).sum(1) / text.lengths[:, None]
        return [Tokens(hidden[:, None], nn.Identity())]

    def ground(self, image: Tokens) -> Tensor:
        return image.hidden

    def pair(self, ground: Tensor, text: Tokens, texts: Text, image_rows: Tensor, text_rows: Tensor) -> Tokens:
        return Tokens(torch.tanh(ground[image_rows] * text.hidden[text_rows]), nn.Identity())

    def match(self, fused: Tokens) -> Tensor:
        return self.matching(fused.cls)

    def embed_image(self, image: Tokens) -> Tensor:
        return F.normalize(image.cls, dim=-1)

    def embed_text(self, text: Tokens) -> Tensor:
        return F.normalize(text.cls, dim=-1)
