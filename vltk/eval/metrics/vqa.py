"""The score of VQA v2 (Antol 2015, as the official evaluation computes it): what share of the annotators agrees.

An answer scores min(1, matches / 3) against all annotators but one, averaged over the one left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError


def scores(answers: Sequence[str], annotated: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """The answer of each question and its annotators' answers (10 in VQA v2), all normalised -> (N,) from 0 to 1."""
    if len(answers) != len(annotated):
        raise VltkError(f"VQA score: {len(answers)} answers to {len(annotated)} questions")
    return np.array([_score(answer, own) for answer, own in zip(answers, annotated, strict=True)])


def accuracy(answers: Sequence[str], annotated: Sequence[Sequence[str]]) -> float:
    """The mean of `scores`, in percent."""
    return 100 * float(scores(answers, annotated).mean())


def _score(answer: str, annotated: Sequence[str]) -> float:
    people, matches = len(annotated), sum(answer == one for one in annotated)
    if people < 2:
        raise VltkError(f"VQA score: a question needs answers of two annotators or more; got {list(annotated)}")
    without_a_match = matches * min(1.0, (matches - 1) / 3)
    without_another = (people - matches) * min(1.0, matches / 3)
    return (without_a_match + without_another) / people
