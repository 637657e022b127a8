"""How texts are decoded: the options that recipes and evaluation share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from vltk.strict import Strict


class Decoding(Strict):
    """Beam search, or sampling from the nucleus (arXiv 1904.09751); BLIP (arXiv 2201.12086) has one for either use.

    Lengths count tokens as transformers does, the prompt included: a text of `max_length` is cut, and none ends before
    it has `min_length`. `repetition_penalty` (CTRL, arXiv 1909.05858) makes tokens that are there already less likely;
    `no_repeat_ngram` lets no sequence of so many tokens come twice (0: off).
    """

    method: Literal["nucleus", "beam"] = "nucleus"
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9  # of the nucleus; BLIP section 4.2
    temperature: PositiveFloat = 1.0  # of the nucleus
    samples: PositiveInt = 1  # texts an image; of a beam the best ones
    beams: PositiveInt = 3  # BLIP configs/caption_coco.yaml
    length_penalty: float = 1.0  # of the beam: scores are divided by length to this power
    min_length: NonNegativeInt = 10  # BLIP models/blip.py
    max_length: PositiveInt = 30
    repetition_penalty: PositiveFloat = 1.1  # which BLIP's sampler sets whatever it is asked for
    no_repeat_ngram: NonNegativeInt = 0

    @model_validator(mode="after")
    def _fits(self) -> Decoding:
        if self.min_length >= self.max_length:
            raise PydanticCustomError(
                "complete", f"min_length {self.min_length} should be below max_length {self.max_length}"
            )
        if self.method == "beam" and self.samples > self.beams:
            raise PydanticCustomError(
                "complete", f"samples {self.samples} given, a beam search keeps {self.beams} texts: raise beams"
            )
        return self
