"""The encoders of a trained model under a new head: what fine-tuning trains (FLAVA, arXiv 2112.04482 section 5).

The head reads the CLS of the fusion (h_CLS,M); without one those of image and text, one behind the other, as FLAVA does
for CLIP; or that of the only encoder. It has two layers, as RoBERTa's (tanh) and FLAVA's for pairs (ours: GELU).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vltk.errors import RecipeError
from vltk.models.layers import Rows, init_weights
from vltk.models.tokens import Text, Tokens
from vltk.parts import Choice, From

Size = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "tanh": nn.Tanh}


class Finetuned(nn.Module):
    """Encoders, named as in the model that they come from, and a head of `outputs` numbers a sample.

    head_width: of its hidden layer (null: that of what it reads); dropout: in front of both its layers.
    """

    def __init__(
        self,
        *,
        image: Annotated[Choice | None, From("models/encoders")] = None,
        text: Annotated[Choice | None, From("models/encoders")] = None,
        fusion: Annotated[Choice | None, From("models/fusion")] = None,
        outputs: Size,
        head_width: Size | None = None,
        activation: Literal["gelu", "tanh"] = "gelu",
        dropout: Share = 0.1,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        if image is None and text is None:
            raise RecipeError("image: null given, and text is null too; give one of them an encoder")
        if fusion and not (image and text):
            raise RecipeError("fusion: needs both image and text; set it to null without them")
        self.image, self.text = _built(image), _built(text)
        widths = {"image_width": self.image.width, "text_width": self.text.width} if fusion else {}
        self.fusion = _built(fusion, **widths)
        self.outputs = outputs
        encoders: dict[str, Any] = {"image": self.image, "text": self.text}
        self.passes = ("fused",) if fusion else tuple(name for name, encoder in encoders.items() if encoder)
        width = self.fusion.width if fusion else sum(encoders[name].width for name in self.passes)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(width, head_width or width),
            ACTIVATIONS[activation](),
            nn.Dropout(dropout),
            nn.Linear(head_width or width, outputs),
        )
        init_weights(self.head, init_std)

    def encode_images(self, images: Tensor, masks: list[Tensor | None], reads: list[Rows | None]) -> list[Tokens]:
        """images (B, 3, S, S); a mask (B, N) or None and the rows read a pass -> tokens (B, 1 + N, D) a pass."""
        return self.image.encode(images, masks, reads)

    def encode_texts(self, passes: list[Text], reads: list[Rows | None]) -> list[Tokens]:
        """Passes of one shape -> tokens (B, T, D) a pass."""
        return self.text.encode(passes, reads)

    def ground(self, image: Tokens) -> Tokens:
        """What pairs read of the images: their states."""
        return image

    def fuse(
        self, image: Tokens, text: Tokens, texts: Text, masked: tuple[Tensor | None, Tensor | None] | None = None
    ) -> Tokens:
        """Tokens (B, 2 + N + T, D) of the joint sequence; with `masked`, which has to be empty, CLS_M alone."""
        assert masked in (None, (None, None)), "a fine-tuned model sees whole images and texts"
        return self.fusion(image, text, texts.lengths, None if masked is None else Rows.first(texts.ids))

    def answer(self, *tokens: Tokens) -> Tensor:
        """Tokens of each of `passes` -> (B, outputs) fp32: logits, or a score."""
        return self.head(torch.cat([one.cls for one in tokens], dim=-1)).float()


def _built(choice: Choice | None, **provided: Any) -> Any:
    return choice.build(**provided) if choice else None
