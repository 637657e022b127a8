"""BLIP (arXiv 2201.12086): a vision transformer and one text model that encodes, encodes beside an image, and writes.

Details from salesforce/BLIP blip_pretrain.py, blip.py and transformers modeling_blip.py: text looks at the image states
after their final norm; the projections (with bias) take [CLS]; the matching head is one linear layer at [ENC]; what is
written goes through BERT's head, tied to the words.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.errors import RecipeError, VltkError
from vltk.models.captions import Captions
from vltk.models.encoders.med import Mixture
from vltk.models.grounded import Memory, taken
from vltk.models.heads import ContrastHead, TiedHead
from vltk.models.layers import Rows, init_weights
from vltk.models.tokens import Text, Tokens
from vltk.parts import Choice, From


class Blip(nn.Module):
    """An image encoder and a mixture of text encoder and decoder, with all pretraining heads that stand on them.

    embedding: width E of the contrastive space; temperature: its start; prompt: the words that every caption begins
    with (BLIP's captioner: "a picture of"); init_std: of the heads and projections.
    """

    fused_from = ("image",)  # a pair is read from the image's states and the text's ids

    def __init__(
        self,
        *,
        image: Annotated[Choice, From("models/encoders")],
        text: Annotated[Choice, From("models/encoders")],
        embedding: int = 256,
        temperature: float = 0.07,
        prompt: str = "",
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.image: Any = image.build()
        self.text: Any = text.build(image_width=self.image.width)
        if not isinstance(self.text, Mixture):
            raise RecipeError(f"text: {text.part} given, but only med both encodes and writes; set model.text.part=med")
        self.prompt = prompt
        self.heads = nn.ModuleDict()
        if self.text.decoder:
            eps = self.text.shared.embedding_norm.eps
            self.heads["lm"] = TiedHead(self.text.width, self.text.vocab, eps, init_std)
        self.embedding = embedding if self.text.encoder else None
        if self.text.encoder:
            self.heads["itm"] = nn.Linear(self.text.width, 2)
            init_weights(self.heads["itm"], init_std)
            self.heads["contrast"] = ContrastHead(self.image.width, self.text.width, embedding, temperature, init_std)

    def encode_images(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        """images (B, 3, S, S); a mask (B, N) or None and the rows read a pass -> tokens (B, 1 + N, D) a pass."""
        return self.image.encode(images, masks, reads)

    def encode_texts(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of texts alone -> tokens (B, T, D) a pass."""
        return self.text.encode(passes, reads)

    def embed_image(self, image: Tokens) -> Tensor:
        """(B, E), normalised, for contrast and retrieval."""
        return F.normalize(self._contrast().image(image.cls).float(), dim=-1)

    def embed_text(self, text: Tokens) -> Tensor:
        """(B, E), normalised."""
        return F.normalize(self._contrast().text(text.cls).float(), dim=-1)

    def scale(self) -> Tensor:
        """() the factor on similarities: 2 to 1000."""
        return self._contrast().scale()

    def ground(self, image: Tokens) -> Memory:
        """What texts look at of each image, made once for all of them: keys and values of every layer."""
        return self.text.remember(image.normed)

    def pair(self, ground: Memory, text: None, texts: Text, image_rows: Tensor, text_rows: Tensor) -> Tokens:
        """Images and texts by number (P,), (P,) -> [ENC] of each pair, (P, 1, D)."""
        chosen = texts.take(text_rows)
        return self.text.ground(chosen, taken(ground, image_rows), Rows.first(chosen.ids))

    def match(self, fused: Tokens) -> Tensor:
        """(P, 2) logits; class 1: image and text belong together."""
        return self.heads["itm"](fused.cls)

    def decode(self, ground: Memory, texts: Text) -> Tokens:
        """Texts beside their images, written from left to right -> (B, T, D); token t knows the ids up to t."""
        return self.text.decode(texts, ground)

    def predict(self, hidden: Tensor) -> Tensor:
        """(..., D) of `decode` -> (..., V) logits of the token behind."""
        return self.heads["lm"](hidden, self.text.shared.words.weight)

    def caption_start(self, tokenizer: Any) -> tuple[list[int], int]:
        """The ids that every caption starts with, [DEC] and the prompt's words, and the id that ends one, [SEP]."""
        words = tokenizer.encode(self.prompt)[0][1:-1] if self.prompt else []
        return [self.text.dec, *map(int, words)], tokenizer.sep

    def begin_captions(self, images: Tensor) -> Captions:
        """images (I, 3, S, S) uint8 -> I captions without a token. Raises VltkError where there is no decoder."""
        if not self.text.decoder:
            raise VltkError("the model writes no captions: it has no decoder of text (model.text.decoder: false)")
        (image,) = self.encode_images(images, [None], [None])
        return Captions(self.ground(image), torch.arange(len(images), device=images.device))

    def next_logits(self, ids: Tensor, captions: Captions) -> Tensor:
        """New tokens ids (R, n) of all captions, which keep them -> (R, V) fp32 logits of the token behind the last."""
        last, captions.past = self.text.write(ids, captions.past, captions.look)
        return self.predict(last).float()

    def _contrast(self) -> Any:
        if self.embedding is None:
            raise VltkError("the model has no embeddings: it has no encoder of text (model.text.encoder: false)")
        return self.heads["contrast"]
