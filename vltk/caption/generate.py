"""Captions of images by a trained run: the entry for `vltk capfilt` and `vltk eval`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vltk.caption import beam, nucleus
from vltk.caption.contract import Generated, Start
from vltk.caption.decoding import Decoding
from vltk.errors import VltkError

VERBS = ("begin_captions", "next_logits", "caption_start")


@dataclass(frozen=True)
class Caption:
    """A generated text, the mean log probability of its tokens, and how many they are."""

    text: str
    logprob: float
    length: int
    finished: bool


class Writer:
    """Captions by `model`, with the tokenizer that it was trained with.

    What a sample gets depends on the seed, its key and its image, not on what is in its batch.
    Raises VltkError for a model that does not decode, or not texts of that length.
    """

    def __init__(self, model: Any, tokenizer: Any, decoding: Decoding, seed: int = 0, name: str = "the model") -> None:
        if absent := [verb for verb in VERBS if not hasattr(model, verb)]:
            raise VltkError(f"{name} does not write texts (no {absent[0]}): give a run with a decoder, as of BLIP")
        self.model, self.tokenizer, self.decoding, self.seed = model, tokenizer, decoding, seed
        self.start = start_of(model, tokenizer)
        if wrong := misfit(model, tokenizer, decoding):
            raise VltkError(f"{name}: {wrong}")

    @torch.no_grad()
    def write(self, images: Tensor, keys: Sequence[str]) -> list[list[Caption]]:
        """images (N, 3, S, S) uint8 of the samples `keys` -> the captions of each.

        Raises VltkError for a model whose probabilities are no numbers.
        """
        state = self.model.begin_captions(images)
        if self.decoding.method == "beam":
            found = beam.search(self.model, state, self.start, self.decoding, len(keys))
        else:
            found = nucleus.sample(self.model, state, self.start, self.decoding, self.seed, keys)
        for key, texts in zip(keys, found, strict=True):
            if not all(math.isfinite(one.logprob) for one in texts):
                raise VltkError(
                    f"the probabilities of the text of sample {key!r} are no numbers: the weights are broken"
                )
        return [[self._told(one) for one in texts] for texts in found]

    def _told(self, one: Generated) -> Caption:
        return Caption(self.tokenizer.decode(one.ids).strip(), one.logprob, len(one.ids), one.finished)


def misfit(model: Any, tokenizer: Any, decoding: Decoding) -> str | None:
    """Why the model cannot write texts of `max_length`; None where it can. Its weights are not looked at."""
    given, prompt = f"max_length {decoding.max_length}", len(start_of(model, tokenizer).prompt)
    if prompt >= decoding.max_length:
        return f"{given} counts the prompt, which has {prompt} tokens: raise it"
    room = getattr(getattr(model, "text", None), "max_length", None)
    if room is not None and decoding.max_length > room:
        return f"{given} given, but the model takes texts of at most {room} tokens, the prompt included: lower it"
    return None


def start_of(model: Any, tokenizer: Any) -> Start:
    """Where its texts start and end. No text has a special token, nor an id that the tokenizer does not know."""
    prompt, end = model.caption_start(tokenizer)
    never = sorted({int(token) for token in tokenizer.special} - {int(end)})
    return Start([int(token) for token in prompt], int(end), never, tokenizer.size)
