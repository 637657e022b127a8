"""BLIP-2's ranking: the texts of an image most similar to it, whoever wrote them (salesforce/LAVIS issue 354: two)."""

from __future__ import annotations

from collections.abc import Sequence

from vltk.capfilt.rules._contract import Count, Decide, Decision, Score, Scored, Values


class TopK:
    """The `k` texts of each image with the highest score; of equal ones the first."""

    def __init__(self, *, k: Count = 2, by: Score = "itc") -> None:
        self.k, self.by = k, by

    def fit(self, values: Values) -> Decide:
        return self._decide

    def _decide(self, texts: Sequence[Scored]) -> list[Decision]:
        order = sorted(range(len(texts)), key=lambda number: -texts[number].score(self.by))
        ranks = {number: rank for rank, number in enumerate(order, 1)}
        return [
            (ranks[n] <= self.k, f"{ranks[n]} of {len(texts)} by {self.by} {text.score(self.by):.3f}")
            for n, text in enumerate(texts)
        ]
