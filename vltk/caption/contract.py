"""What generation asks of a model family, and what it gives back.

Shapes: N images, R rows (one a text in the making), n new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class State(Protocol):
    """The cache of the rows so far; keys and values of the images are computed once an image."""

    def take(self, rows: Tensor) -> State:
        """rows (R,) numbers of the present rows, in any order and number: beams repeat and change places."""


class Captioner(Protocol):
    """A family that decodes text."""

    def parameters(self) -> Iterator[Tensor]: ...

    def begin_captions(self, images: Tensor) -> State:
        """images (N, 3, S, S) uint8 -> a row for each."""

    def next_logits(self, ids: Tensor, state: State) -> Tensor:
        """ids (R, n), appended to the rows -> (R, V) float32 logits of the token behind the last."""


@dataclass(frozen=True)
class Start:
    """What every text of a captioner begins with, and what ends one.

    `prompt`: ids fed first ([DEC] and the prompt's words); `end`: of [SEP]; `never`: ids that no text has; `known`: ids
    from here on are none of the tokenizer's (None: all are), as a model may have room for more.
    """

    prompt: Sequence[int]
    end: int
    never: Sequence[int] = ()
    known: int | None = None


@dataclass(frozen=True)
class Generated:
    """One text: its ids without prompt and end, and the mean log probability of its tokens (the end is one of them).

    `finished` is False where it was cut at the longest length.
    """

    ids: tuple[int, ...]
    logprob: float
    finished: bool
