"""An image encoder, a text encoder, or both side by side, without heads: what ViT's and BERT's public weights are.

Frozen it is a teacher or the features of a probe; its parts are what `init` takes.
"""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor, nn

from vltk.errors import RecipeError
from vltk.models.layers import Rows
from vltk.models.tokens import Text, Tokens
from vltk.parts import Choice, From


class Bare(nn.Module):
    """The encoders that are given; null leaves one out."""

    def __init__(
        self,
        *,
        image: Annotated[Choice | None, From("models/encoders")] = None,
        text: Annotated[Choice | None, From("models/encoders")] = None,
    ) -> None:
        super().__init__()
        if image is None and text is None:
            raise RecipeError("image: null given, and text is null too; give one of them an encoder")
        self.image: Any = image.build() if image else None
        self.text: Any = text.build() if text else None

    def encode_images(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        """images (B, 3, S, S); a mask (B, N) or None and the rows read a pass -> tokens (B, 1 + N, D) a pass."""
        return self.image.encode(images, masks, reads)

    def encode_texts(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of one shape -> tokens (B, T, D) a pass."""
        return self.text.encode(passes, reads)
