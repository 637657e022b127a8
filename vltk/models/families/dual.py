"""Two encoders that were pretrained alone, put together by a shared embedding space: mostly a ViT and a BERT.

Details from transformers modeling_vision_text_dual_encoder.py: CLIP's embeddings and scale, but what is projected is
each encoder's CLS behind its pooler. CLIP's image tower has no pooler.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor, nn

from vltk.models.families.clip import Clip
from vltk.models.heads import Pooler
from vltk.models.tokens import Tokens
from vltk.parts import Choice, From


class Dual(Clip):
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
        super().__init__(image=image, text=text, embedding=embedding, temperature=temperature)
        self.image_pooler = Pooler(self.image.width) if image_pooler else nn.Identity()
        self.text_pooler = Pooler(self.text.width)

    def embed_image(self, image: Tokens) -> Tensor:
        """(B, E), normalised."""
        return F.normalize(self.image_projection(self.image_pooler(image.cls)).float(), dim=-1)

    def embed_text(self, text: Tokens) -> Tensor:
        """(B, E), normalised."""
        return F.normalize(self.text_projection(self.text_pooler(text.cls)).float(), dim=-1)
