"""CIDEr, BLEU and ROUGE-L of captions against several references, as the COCO caption evaluation computes them.

Formulas and constants are those of pycocoevalcap (salaniz): what it calls CIDEr is CIDEr-D (Vedantam et al.
2015) with document frequencies of the references at hand, as in published results. Its tokens come from a Java
program; `words` comes near to them, and where a result must stand beside published ones, the tokens should be those.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError

Tokens = list[str]
References = Sequence[Sequence[Tokens]]  # of each image
Grams = Counter[tuple[str, ...]]
Floats = NDArray[np.float64]

SIZES = (1, 2, 3, 4)  # words of an n-gram
SIGMA = 6.0  # of CIDEr-D, in words
BETA = 1.2  # of ROUGE-L
TINY, SMALL = 1e-15, 1e-9  # keep BLEU from dividing by nothing

_WORD = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|[^\W_]+?(?=n't\b)|[^\W_]+(?:[-.,&/][^\W_]+)*|[^\w\s]")
_PUNCTUATION = {*"'`.?!,:;-()[]{}\"", "''", "``", "--", "..."}


def words(text: str) -> Tokens:
    """In lower case without punctuation, contractions in two (`do n't`, `man 's`), near to Penn Treebank's."""
    return [word for word in _WORD.findall(text.lower().replace("’", "'")) if word not in _PUNCTUATION]


def cider(captions: Sequence[Tokens], references: References) -> Floats:
    """(N,) in percent, whose mean is the score; 0 for a single image, as every word is then in all documents."""
    _require(captions, references)
    cooked = [[_grams(one) for one in own] for own in references]
    seen: Grams = Counter(gram for own in cooked for gram in set().union(*own))
    documents = math.log(len(cooked))
    return np.array(
        [_cider(_grams(one), own, seen, documents) for one, own in zip(captions, cooked, strict=True)], np.float64
    )


def bleu(captions: Sequence[Tokens], references: References) -> Floats:
    """(4,) BLEU-1 to BLEU-4 of the whole corpus in percent, with the closest lengths (Papineni et al. 2002)."""
    _require(captions, references)
    right, guessed = np.zeros(len(SIZES)), np.zeros(len(SIZES))
    length = wanted = 0
    for caption, own in zip(captions, references, strict=True):
        length += len(caption)
        wanted += min((abs(len(one) - len(caption)), len(one)) for one in own)[1]
        most: Grams = Counter()
        for one in own:
            most |= _grams(one)
        for gram, count in _grams(caption).items():
            right[len(gram) - 1] += min(count, most[gram])
            guessed[len(gram) - 1] += count
    shares = np.log((right + TINY) / (guessed + SMALL))
    ratio = (length + TINY) / (wanted + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return 100 * brevity * np.exp(shares.cumsum() / np.array(SIZES))


def rouge(captions: Sequence[Tokens], references: References) -> Floats:
    """(N,) ROUGE-L in percent, whose mean is the score: best precision and best recall of each image (Lin 2004)."""
    _require(captions, references)
    return np.array([_rouge(one, own) for one, own in zip(captions, references, strict=True)], np.float64)


def _cider(caption: Grams, references: Sequence[Grams], seen: Grams, documents: float) -> float:
    mine = _weighted(caption, seen, documents)
    total = np.zeros(len(SIZES))
    for one in references:
        theirs = _weighted(one, seen, documents)
        apart = _bigrams(caption) - _bigrams(one)
        total += _cosines(mine, theirs) * math.exp(-(apart**2) / (2 * SIGMA**2))
    return float(100 * 10 * total.mean() / len(references))


def _weighted(grams: Grams, seen: Grams, documents: float) -> dict[tuple[str, ...], float]:
    """Counts times how rare the n-gram is among the images."""
    return {gram: count * (documents - math.log(max(1, seen[gram]))) for gram, count in grams.items()}


def _cosines(mine: dict[tuple[str, ...], float], theirs: dict[tuple[str, ...], float]) -> Floats:
    """(4,) by the size of the n-grams; what a caption says more often than the reference does not count."""
    shared, norms = np.zeros(len(SIZES)), np.zeros((2, len(SIZES)))
    for gram, weight in mine.items():
        shared[len(gram) - 1] += min(weight, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0)
    for side, weights in enumerate((mine, theirs)):
        for gram, weight in weights.items():
            norms[side, len(gram) - 1] += weight**2
    both = np.sqrt(norms[0] * norms[1])
    return np.divide(shared, both, out=shared.copy(), where=both != 0)


def _bigrams(grams: Grams) -> int:
    """What CIDEr-D takes for the length of a text."""
    return sum(count for gram, count in grams.items() if len(gram) == 2)


def _grams(tokens: Sequence[str]) -> Grams:
    return Counter(tuple(tokens[first : first + n]) for n in SIZES for first in range(len(tokens) - n + 1))


def _rouge(caption: Tokens, references: Sequence[Tokens]) -> float:
    shared = [_longest(one, caption) for one in references]
    precision = max(one / max(1, len(caption)) for one in shared)
    recall = max(one / max(1, len(own)) for one, own in zip(shared, references, strict=True))
    if not precision or not recall:
        return 0.0
    return 100 * (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _longest(one: Sequence[str], other: Sequence[str]) -> int:
    """Of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, second in enumerate(other, 1):
            here = row[place]
            row[place] = before + 1 if word == second else max(row[place], row[place - 1])
            before = here
    return row[-1]


def _require(captions: Sequence[Tokens], references: References) -> None:
    if len(captions) != len(references) or not captions:
        raise VltkError(
            f"captions and references of the same images are needed; got {len(captions)}, {len(references)}"
        )
    for number, own in enumerate(references):
        if not own:
            raise VltkError(f"image number {number} has no reference caption")
