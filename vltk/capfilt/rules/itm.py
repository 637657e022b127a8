"""BLIP's filter: a text stays where the matching head gives it this probability (0.5, salesforce/BLIP issue 46)."""

from __future__ import annotations

from collections.abc import Sequence

from vltk.capfilt.rules._contract import Decide, Decision, Scored, Shares, Values, by_source


class Itm:
    """Each text for itself. `threshold`: for all sources, or one each, as {web: 0.5, generated: 0.6}."""

    by = "itm"

    def __init__(self, *, threshold: Shares = 0.5) -> None:
        self.threshold = by_source(threshold, "threshold")

    def fit(self, values: Values) -> Decide:
        return self._decide

    def _decide(self, texts: Sequence[Scored]) -> list[Decision]:
        return [self._one(text.score("itm"), self.threshold[text.source]) for text in texts]

    @staticmethod
    def _one(probability: float, threshold: float) -> Decision:
        kept = probability >= threshold
        return kept, f"itm {probability:.3f} {'>=' if kept else '<'} {threshold:g}"
