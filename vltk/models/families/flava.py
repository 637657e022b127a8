"""FLAVA (arXiv 2112.04482): three encoders from one block, with all pretraining heads.

Details settled by transformers modeling_flava.py: the multimodal encoder takes the unimodal states before their final
norm; the contrastive projections (with bias) take the CLS tokens after it; the four vocabulary heads share nothing
with one another or with the word embeddings. The poolers, which no loss reads, are left out.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.errors import RecipeError
from vltk.models.fusion.joint import fused_rows
from vltk.models.heads import MatchHead, PredictionHead, clamped_scale
from vltk.models.layers import Rows, init_weights
from vltk.models.tokens import Text, Tokens
from vltk.parts import Choice, From


class Flava(nn.Module):
    """Image, text and joint encoder. An encoder given as null is left out, with the heads that stand on it.

    codes: size of the visual vocabulary; embedding: width E of the contrastive space; temperature: its start;
    init_std: of the heads and projections.
    """

    fused_from = ("image", "text")

    def __init__(
        self,
        *,
        image: Annotated[Choice | None, From("models/encoders")],
        text: Annotated[Choice | None, From("models/encoders")],
        fusion: Annotated[Choice | None, From("models/fusion")],
        codes: int = 8192,
        embedding: int = 768,
        head_eps: float = 1e-12,
        temperature: float = 0.07,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.image = _built(image)
        self.text = _built(text)
        if fusion and not (image and text):
            raise RecipeError("fusion: needs both image and text; set it to null without them")
        widths = {"image_width": self.image.width, "text_width": self.text.width} if fusion else {}
        self.fusion = _built(fusion, **widths)
        self.heads = nn.ModuleDict()
        if self.image:
            self.heads["mim"] = PredictionHead(self.image.width, codes, head_eps, init_std)
        if self.text:
            self.heads["mlm"] = PredictionHead(self.text.width, self.text.vocab, head_eps, init_std)
        if self.fusion:
            self.heads["mmm_image"] = PredictionHead(self.fusion.width, codes, head_eps, init_std)
            self.heads["mmm_text"] = PredictionHead(self.fusion.width, self.text.vocab, head_eps, init_std)
            self.heads["itm"] = MatchHead(self.fusion.width, init_std)
        self.embedding = embedding if self.image and self.text else None
        self.image_projection: Any = None
        self.text_projection: Any = None
        if self.image and self.text:
            self.image_projection = nn.Linear(self.image.width, embedding)
            self.text_projection = nn.Linear(self.text.width, embedding)
            init_weights(self.image_projection, init_std)
            init_weights(self.text_projection, init_std)
            self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def encode_images(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        """images (B, 3, S, S); a mask (B, N) or None and the rows read a pass -> tokens (B, 1 + N, D) a pass."""
        return self.image.encode(images, masks, reads)

    def encode_texts(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of one shape -> tokens (B, T, D) a pass."""
        return self.text.encode(passes, reads)

    def fuse(
        self, image: Tokens, text: Tokens, texts: Text, masked: tuple[Tensor | None, Tensor | None] | None = None
    ) -> Tokens:
        """Tokens (B, 2 + N + T, D) of the joint sequence, or only CLS_M and the `masked` patches and words of it."""
        rows = None
        if masked is not None:
            patches = self.image.grid[0] * self.image.grid[1]
            at = fused_rows(*masked, texts, patches)
            rows = Rows.first(texts.ids) if masked == (None, None) else Rows.where(at)
        return self.fusion(image, text, texts.lengths, rows)

    def ground(self, image: Tokens) -> Tokens:
        """What pairs read of the images, made once for all of them: here their states."""
        return image

    def pair(self, ground: Tokens, text: Tokens, texts: Text, image_rows: Tensor, text_rows: Tensor) -> Tokens:
        """Images and texts by number (P,), (P,) -> CLS_M of each pair, (P, 1, D)."""
        return self.fuse(ground.take(image_rows), text.take(text_rows), texts.take(text_rows), (None, None))

    def fused_at(self, image_at: Tensor | None, text_at: Tensor | None, texts: Text) -> Tensor:
        """Masks over patches or text tokens -> the mask (B, 2 + N + T) of the same rows in the joint sequence."""
        at = fused_rows(image_at, text_at, texts, self.image.grid[0] * self.image.grid[1])
        at[:, 0] = False
        return at

    def predict(self, hidden: Tensor) -> Tensor:
        """Fused (..., D) -> (..., V) logits of the word that is hidden there."""
        return self.heads["mmm_text"](hidden)

    def embed_image(self, image: Tokens) -> Tensor:
        """(B, E), normalised, for contrast and retrieval."""
        return F.normalize(self.image_projection(image.cls).float(), dim=-1)

    def embed_text(self, text: Tokens) -> Tensor:
        """(B, E), normalised."""
        return F.normalize(self.text_projection(text.cls).float(), dim=-1)

    def scale(self) -> Tensor:
        """() the factor on similarities, at most 100."""
        return clamped_scale(self.logit_scale)

    def match(self, fused: Tokens) -> Tensor:
        """(B, 2) logits; class 1: image and text belong together."""
        return self.heads["itm"](fused.cls)


def _built(choice: Choice | None, **provided: Any) -> Any:
    return choice.build(**provided) if choice else None
