"""What a recipe of `vltk capfilt` may say: the runs, the data, and the options of each step."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt
from pydantic_core import PydanticCustomError

from vltk.caption.decoding import Decoding
from vltk.parts import Choice, From
from vltk.strict import Strict

Share = Annotated[float, Field(ge=0, le=1)]
RULES = "capfilt/rules"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


def _folder(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise PydanticCustomError("name", "should be a name for a folder, as mine or mine/one")
    return name


Name = Annotated[str, AfterValidator(_folder)]


class Source(Strict):
    """A data set that goes in."""

    human: bool = False  # its texts were written by people for its images: all are kept, none is scored


class Captions(Decoding):
    """How the captioner writes."""

    batch_size: PositiveInt = 64  # images at a time; the texts do not depend on it


class Scoring(Strict):
    """How the filter reads."""

    batch_size: PositiveInt = 64  # images at a time, with all their texts
    normalise: bool = False  # texts as BLIP's own training has them: lower case, no .!"()*#:;~, `max_words`
    max_words: PositiveInt = 30  # where they are normalised; BLIP data/utils.py


class Gates(Strict):
    """What no text may be, whatever its scores; null leaves a gate open."""

    min_words: PositiveInt | None = 2
    max_words: PositiveInt | None = None
    max_run: PositiveInt | None = 2  # how often a word may stand behind itself
    max_repeat: PositiveInt | None = 2  # how often any three words in a row may come
    max_unknown: Share | None = 0.5  # share of tokens that the filter's tokenizer does not know
    max_copies: PositiveInt | None = None  # for how many images the same text may stand
    echo: bool = True  # a generated text that says the captioner's prompt again
    unfinished: bool = True  # a generated text that was cut at its longest length


class Options(Strict):
    """A recipe of `vltk capfilt`."""

    kind: Literal["capfilt"]
    name: Name | None = None  # runs/NAME/; null: the name of the file
    seed: NonNegativeInt = 0
    captioner: str | None  # a run, as `vltk eval` takes it; null: no texts are written
    filter: str | None  # a run with a matching head; null: nothing is scored, and `select` has to be `all`
    data: Annotated[dict[str, Source], Field(min_length=1)]
    output: Name  # the data set that is made
    caption: Captions = Captions()
    score: Scoring = Scoring()
    select: Annotated[Choice, From(RULES)]  # BLIP's rule where nothing is said
    gates: Gates = Gates()
    precision: Literal["fp32", "bf16"] = "fp32"  # of the computation
