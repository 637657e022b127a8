"""What evaluation, captioning and reports ask of a trained model of any family. Nothing here keeps gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vltk.models.encoded import Encoded
from vltk.models.layers import Rows
from vltk.models.passes import Plan
from vltk.models.tokens import Text, Tokens


@torch.no_grad()
def image_features(model: Any, images: Tensor) -> Tensor:
    """images (B, 3, S, S) uint8 -> (B, D): the image encoder's CLS after the final norm, the input of probes."""
    return _image_tokens(model, images).cls.float()


@torch.no_grad()
def image_embeddings(model: Any, images: Tensor) -> Tensor:
    """images (B, 3, S, S) uint8 -> (B, E), normalised."""
    return model.embed_image(_image_tokens(model, images))


@torch.no_grad()
def text_embeddings(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """ids (B, T), lengths (B,) -> (B, E), normalised."""
    return model.embed_text(model.encode_texts([Text(ids, lengths)], [Rows.first(ids)])[0])


@torch.no_grad()
def predict_codes(model: Any, images: Tensor, masked_at: Tensor) -> Tensor:
    """images (B, 3, S, S), masked_at (B, N) -> (K, codes) logits at the masked patches, from the image alone."""
    tokens = model.encode_images(images, [masked_at], [None])[0]
    return model.heads["mim"](tokens.at(_behind_cls(masked_at)))


@torch.no_grad()
def predict_words(model: Any, ids: Tensor, lengths: Tensor, masked_at: Tensor) -> Tensor:
    """Masked ids (B, T), masked_at (B, T) -> (K, V) logits at the masked words, from the text alone."""
    tokens = model.encode_texts([Text(ids, lengths)], [None])[0]
    return model.heads["mlm"](tokens.at(masked_at))


@torch.no_grad()
def predict_codes_from_pair(model: Any, images: Tensor, masked_at: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """images (B, 3, S, S), masked_at (B, N) beside their whole texts -> (K, codes) logits at the masked patches."""
    text = Text(ids, lengths)
    image = model.encode_images(images, [masked_at], [None])[0]
    words = model.encode_texts([text], [None])[0]
    fused = model.fuse(image, words, text)
    return model.heads["mmm_image"](fused.at(model.fused_at(masked_at, None, text)))


@torch.no_grad()
def predict_words_from_pair(model: Any, images: Tensor, ids: Tensor, lengths: Tensor, masked_at: Tensor) -> Tensor:
    """Masked ids (B, T) beside their clean images (B, 3, S, S) -> (K, V) logits at the masked words."""
    text = Text(ids, lengths)
    tokens = model.encode_texts([text], [None])[0]
    fused = model.fuse(_image_tokens(model, images, None), tokens, text)
    return model.heads["mmm_text"](fused.at(model.fused_at(None, masked_at, text)))


@torch.no_grad()
def task_outputs(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """What a fine-tuned model says of `image` (B, 3, S, S), `text` (B, T), `text_length` (B,), or of some of them
    -> (B, outputs)."""
    encoded = Encoded(model, batch, Plan.of((name, "cls") for name in model.passes))
    return model.answer(*(encoded[name] for name in model.passes))


def _image_tokens(model: Any, images: Tensor, rows: str | None = "cls") -> Tokens:
    return model.encode_images(images, [None], [Rows.first(images) if rows else None])[0]


def _behind_cls(masked_at: Tensor) -> Tensor:
    return torch.cat([masked_at.new_zeros(len(masked_at), 1), masked_at], dim=1)
