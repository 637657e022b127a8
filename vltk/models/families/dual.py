"""Two encoders that were pretrained alone, put together by a shared embedding space: mostly a ViT and a BERT.

Details from transformers modeling_vision_text_dual_encoder.py: CLIP's embeddings and scale, but what is projected is
each encoder's CLS behind its pooler. CLIP's image tower has no pooler.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vltk.models.heads import Pooler, clamped_scale
from vltk.models.layers import Rows, init_weights
from vltk.models.tokens import Text, Tokens
from vltk.parts import Choice, From


class Dual(nn.Module):
    """An image encoder, a text encoder and a shared embedding space of width `embedding`.

    `image_pooler`: whether the image encoder's CLS goes through a pooler; the text encoder's always does.
    """

    def __init__(
        self,
        *,
        image: Annotated[Choice, From("models/encoders")],
        text: Annotated[Choice, From("models/encoders")],
        embedding: int = 512,
        image_pooler: bool = True,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.image, self.text, self.embedding = image.build(), text.build(), embedding
        self.image_pooler = Pooler(self.image.width) if image_pooler else nn.Identity()
        self.text_pooler = Pooler(self.text.width)
        self.image_projection = nn.Linear(self.image.width, embedding, bias=False)
        self.text_projection = nn.Linear(self.text.width, embedding, bias=False)
        init_weights(self.image_projection, std=self.image.width**-0.5)
        init_weights(self.text_projection, std=self.text.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def encode_images(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        """images (B, 3, S, S); a mask (B, N) or None and the rows read a pass -> tokens (B, 1 + N, D) a pass."""
        return self.image.encode(images, masks, reads)

    def encode_texts(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of one shape -> tokens (B, T, D) a pass."""
        return self.text.encode(passes, reads)

    def embed_image(self, image: Tokens) -> Tensor:
        """(B, E), normalised."""
        return F.normalize(self.image_projection(self.image_pooler(image.cls)).float(), dim=-1)

    def embed_text(self, text: Tokens) -> Tensor:
        """(B, E), normalised."""
        return F.normalize(self.text_projection(self.text_pooler(text.cls)).float(), dim=-1)

    def scale(self) -> Tensor:
        """() the factor on similarities, at most 100."""
        return clamped_scale(self.logit_scale)
