"""What evaluation, captioning and reports ask of a trained model of any family. Nothing here keeps gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vltk.models.encoded import Encoded
from vltk.models.layers import Rows
from vltk.models.passes import Plan
from vltk.models.tokens import Text, Tokens


@torch.no_grad()
def image_encodings(model: Any, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """images (B, 3, S, S) uint8 -> what of them is asked for by name, in one pass; `patches` in one of their own.

    `cls` (B, D): the image encoder's CLS after the final norm, the input of probes; `cls_before_norm` (B, D): the same
    before it; `patches` (B, D): the mean of the patch tokens after the final norm; `embedding` (B, E): normalised, for
    contrast and retrieval.
    """
    tokens = _image_tokens(model, images)
    ways: dict[str, Callable[[], Tensor]] = {
        "cls": lambda: tokens.cls.float(),
        "cls_before_norm": lambda: tokens.hidden[:, 0].float(),
        "patches": lambda: _image_tokens(model, images, None).normed[:, 1:].float().mean(1),
        "embedding": lambda: model.embed_image(tokens),
    }
    return {name: ways[name]() for name in names}


def image_features(model: Any, images: Tensor) -> Tensor:
    """images (B, 3, S, S) uint8 -> (B, D): the image encoder's CLS after the final norm, the input of probes."""
    return image_encodings(model, images, ["cls"])["cls"]


def image_embeddings(model: Any, images: Tensor) -> Tensor:
    """images (B, 3, S, S) uint8 -> (B, E), normalised."""
    return image_encodings(model, images, ["embedding"])["embedding"]


@torch.no_grad()
def text_embeddings(model: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """ids (B, T), lengths (B,) -> (B, E), normalised."""
    return model.embed_text(model.encode_texts([Text(ids, lengths)], [Rows.first(ids)])[0])


@torch.no_grad()
def match_pairs(model: Any, images: Tensor, texts: Text, image_rows: Tensor, text_rows: Tensor) -> Tensor:
    """images (I, 3, S, S) uint8, texts (T, L), and pairs of them by number (P,) and (P,) -> (P,) logit of a match.

    Each image and text is encoded once; only the pairs run through the fused encoder.
    """
    text = model.encode_texts([texts], [None])[0] if "text" in model.fused_from else None
    ground = model.ground(_image_tokens(model, images, None))
    logits = model.match(model.pair(ground, text, texts, image_rows, text_rows))
    return logits[:, 1] - logits[:, 0]


@torch.no_grad()
def begin_captions(model: Any, images: Tensor) -> Any:
    """images (I, 3, S, S) uint8, each encoded once -> I captions without a token (models/captions.py)."""
    return model.begin_captions(images)


@torch.no_grad()
def next_logits(model: Any, ids: Tensor, captions: Any) -> Tensor:
    """New tokens ids (R, n) of all captions, which keep them -> (R, V) fp32 logits of the token behind the last."""
    return model.next_logits(ids, captions)


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
    fused = model.fuse(model.ground(image), words, text)
    return model.heads["mmm_image"](fused.at(model.fused_at(masked_at, None, text)))


@torch.no_grad()
def predict_words_from_pair(model: Any, images: Tensor, ids: Tensor, lengths: Tensor, masked_at: Tensor) -> Tensor:
    """Masked ids (B, T) beside their clean images (B, 3, S, S) -> (K, V) logits at the masked words."""
    text = Text(ids, lengths)
    tokens = model.encode_texts([text], [None])[0]
    fused = model.fuse(model.ground(_image_tokens(model, images, None)), tokens, text)
    return model.predict(fused.at(model.fused_at(None, masked_at, text)))


@torch.no_grad()
def task_outputs(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """What a fine-tuned model says of `image` (B, 3, S, S), `text` (B, T), `text_length` (B,), or of some of them
    -> (B, outputs)."""
    encoded = Encoded(model, batch, Plan.of((name, "cls") for name in model.passes))
    return model.answer(*(encoded[name] for name in model.passes))


@torch.no_grad()
def score_pairs(
    model: Any, images: Tensor, texts: Text, image_rows: Tensor, text_rows: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """As `match_pairs`, and with the same images: (P,) logit of a match and (P,) cosine of the embeddings.

    Each image is encoded once for both. None where the model has no matching head, or no embeddings.
    """
    image = _image_tokens(model, images, None)
    fused_from = model.fused_from if can_match(model) else ()
    text = model.encode_texts([texts], [None if "text" in fused_from else Rows.first(texts.ids)])[0]
    logit = cosine = None
    if can_match(model):
        states = text if "text" in fused_from else None
        logits = model.match(model.pair(model.ground(image), states, texts, image_rows, text_rows))
        logit = logits[:, 1] - logits[:, 0]
    if can_embed(model):
        cosine = (model.embed_image(image)[image_rows] * model.embed_text(text)[text_rows]).sum(1)
    return logit, cosine


def can_match(model: Any) -> bool:
    """Whether the model has a matching head; a family may be built without."""
    heads = getattr(model, "heads", None)
    return hasattr(model, "match") and (heads is None or "itm" in heads)


def can_write(model: Any) -> bool:
    """Whether the model writes captions; a family may be built without its decoder."""
    heads = getattr(model, "heads", None)
    return hasattr(model, "begin_captions") and (heads is None or "lm" in heads)


def can_embed(model: Any) -> bool:
    """Whether the model has contrastive embeddings of image and text; a family may be built without."""
    return hasattr(model, "embed_text") and getattr(model, "embedding", True) is not None


def can_guess(model: Any) -> bool:
    """Whether the model finds hidden words of a text alone."""
    return getattr(model, "text", None) is not None and "mlm" in getattr(model, "heads", ())


ABILITIES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what a protocol of evaluation may need of a model
    "image": ("an image encoder", lambda model: getattr(model, "image", None) is not None),
    "embedding": ("embeddings of images and texts", can_embed),
    "match": ("a matching head", can_match),
    "caption": ("a decoder that writes captions", can_write),
    "words": ("a text encoder with an MLM head", can_guess),
    "codes": ("a codebook", lambda model: hasattr(model, "num_codes")),
}


def _image_tokens(model: Any, images: Tensor, rows: str | None = "cls") -> Tokens:
    return model.encode_images(images, [None], [Rows.first(images) if rows else None])[0]


def _behind_cls(masked_at: Tensor) -> Tensor:
    return torch.cat([masked_at.new_zeros(len(masked_at), 1), masked_at], dim=1)
