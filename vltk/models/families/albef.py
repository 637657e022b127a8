"""ALBEF (arXiv 2107.07651): image and text are aligned by contrast before the upper half of a BERT fuses them.

Details from salesforce/ALBEF model_pretrain.py and xbert.py: the projections (with bias) take the CLS tokens, the text
encoder is the lower half of a BERT (norm: post), the matching head is one linear layer at the fused [CLS], masked words
go through BERT's head, tied to the words.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch.nn.functional as F
from torch import Tensor, nn

from vltk.errors import RecipeError
from vltk.models.fusion.cross import CrossTransformer
from vltk.models.grounded import Memory, taken
from vltk.models.heads import ContrastHead, TiedHead
from vltk.models.layers import Rows, init_weights
from vltk.models.tokens import Text, Tokens
from vltk.parts import Choice, From


class Albef(nn.Module):
    """An image encoder, a text encoder and a fusion by cross-attention, with all pretraining heads.

    embedding: width E of the contrastive space; temperature: its start; init_std: of the heads and projections.
    """

    fused_from = ("image", "text")

    def __init__(
        self,
        *,
        image: Annotated[Choice, From("models/encoders")],
        text: Annotated[Choice, From("models/encoders")],
        fusion: Annotated[Choice, From("models/fusion")],
        embedding: int = 256,
        temperature: float = 0.07,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.image: Any = image.build()
        self.text: Any = text.build()
        self.fusion: Any = fusion.build(image_width=self.image.width, text_width=self.text.width)
        if not isinstance(self.fusion, CrossTransformer):
            raise RecipeError(f"fusion: {fusion.part} given, but ALBEF's text looks at images; set it to cross")
        self.embedding, eps = embedding, self.text.embedding_norm.eps
        self.heads = nn.ModuleDict(
            {
                "contrast": ContrastHead(self.image.width, self.text.width, embedding, temperature, init_std),
                "itm": nn.Linear(self.fusion.width, 2),
                "mmm_text": TiedHead(self.fusion.width, self.text.vocab, eps, init_std),
            }
        )
        init_weights(self.heads["itm"], init_std)

    def encode_images(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        """images (B, 3, S, S); a mask (B, N) or None and the rows read a pass -> tokens (B, 1 + N, D) a pass."""
        return self.image.encode(images, masks, reads)

    def encode_texts(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of one shape -> tokens (B, T, D) a pass."""
        return self.text.encode(passes, reads)

    def ground(self, image: Tokens) -> Memory:
        """What texts look at of each image, made once for all of them: keys and values of every layer."""
        return self.fusion.remember(image.normed)

    def fuse(
        self, ground: Memory, text: Tokens, texts: Text, masked: tuple[Tensor | None, Tensor | None] | None = None
    ) -> Tokens:
        """Tokens (B, T, D) of the texts beside their images, or only [CLS] and the `masked` words."""
        rows = None
        if masked is not None:
            text_at = masked[1]
            rows = Rows.first(texts.ids) if text_at is None else Rows.where(_with_cls(text_at))
        return self.fusion.read(ground, text, texts.lengths, rows)

    def pair(self, ground: Memory, text: Tokens, texts: Text, image_rows: Tensor, text_rows: Tensor) -> Tokens:
        """Images and texts by number (P,), (P,) -> [CLS] of each pair, (P, 1, D)."""
        return self.fuse(taken(ground, image_rows), text.take(text_rows), texts.take(text_rows), (None, None))

    def fused_at(self, image_at: Tensor | None, text_at: Tensor, texts: Text) -> Tensor:
        """The mask (B, T) over text tokens is that over fused ones."""
        return text_at

    def embed_image(self, image: Tokens) -> Tensor:
        """(B, E), normalised, for contrast and retrieval."""
        return F.normalize(self._contrast.image(image.cls).float(), dim=-1)

    def embed_text(self, text: Tokens) -> Tensor:
        """(B, E), normalised."""
        return F.normalize(self._contrast.text(text.cls).float(), dim=-1)

    def scale(self) -> Tensor:
        """() the factor on similarities: 2 to 1000."""
        return self._contrast.scale()

    def match(self, fused: Tokens) -> Tensor:
        """(B, 2) logits; class 1: image and text belong together."""
        return self.heads["itm"](fused.cls)

    def predict(self, hidden: Tensor) -> Tensor:
        """Fused (..., D) -> (..., V) logits of the word that is hidden there."""
        return self.heads["mmm_text"](hidden, self.text.words.weight)

    @property
    def _contrast(self) -> Any:
        return self.heads["contrast"]


def _with_cls(text_at: Tensor) -> Tensor:
    at = text_at.clone()
    at[:, 0] = True
    return at
