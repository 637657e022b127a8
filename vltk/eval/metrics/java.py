"""What the COCO caption evaluation does in Java: Penn Treebank tokens, METEOR and SPICE, through pycocoevalcap."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError

Steps = list[tuple[str, str]]
INSTALL = "pip install 'vltk[caption]'"


def absent() -> Steps:
    """What is not on this machine, and what brings it."""
    steps: Steps = []
    if find_spec("pycocoevalcap") is None:
        steps.append(("pycocoevalcap, for METEOR, SPICE and Penn Treebank tokens", INSTALL))
    if shutil.which("java") is None:
        steps.append(("Java, in which pycocoevalcap runs them", "apt-get install default-jre-headless"))
    return steps


def tokens(texts: Sequence[str]) -> list[list[str]]:
    """Each text by the tokenizer of Stanford CoreNLP, in lower case, without punctuation."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    given = {str(number): [{"caption": text.replace("\n", " ")}] for number, text in enumerate(texts)}
    found = PTBTokenizer().tokenize(given)
    if len(found) != len(texts):
        raise VltkError(f"the tokenizer gave {len(found)} texts back for {len(texts)}; does `java -version` work?")
    return [found[number][0].split() for number in given]


def meteor(captions: Sequence[list[str]], references: Sequence[Sequence[list[str]]]) -> tuple[float, NDArray[Any]]:
    """The score of all, which is no mean, and (N,) those of each, in percent (Denkowski and Lavie 2014)."""
    from pycocoevalcap.meteor.meteor import Meteor

    return _scored(Meteor(), captions, references)


def spice(captions: Sequence[list[str]], references: Sequence[Sequence[list[str]]]) -> tuple[float, NDArray[Any]]:
    """The mean and (N,) the scores of each, in percent (Anderson et al. 2016). Downloads CoreNLP when run first."""
    from pycocoevalcap.spice.spice import Spice

    score, each = _scored(Spice(), captions, references, lambda one: one["All"]["f"])
    return score, np.nan_to_num(each)


def _scored(scorer: Any, captions: Any, references: Any, of: Any = float) -> tuple[float, NDArray[Any]]:
    wanted = {number: [" ".join(one) for one in own] for number, own in enumerate(references)}
    given = {number: [" ".join(one)] for number, one in enumerate(captions)}
    score, each = scorer.compute_score(wanted, given)
    return 100 * float(score), 100 * np.array([of(one) for one in each], np.float64)
