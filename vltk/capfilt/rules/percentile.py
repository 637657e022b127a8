"""A share of all texts of the job, those with the highest scores, source by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vltk.capfilt.rules._contract import Decide, Decision, Score, Scored, Shares, Values, by_source


class Percentile:
    """`keep`: the share that stays, of all sources or of each, as {web: 0.6, generated: 0.8}."""

    def __init__(self, *, keep: Shares = 0.5, by: Score = "itm") -> None:
        self.keep, self.by = by_source(keep, "keep"), by

    def fit(self, values: Values) -> Decide:
        limits = {source: self._limit(found, self.keep[source]) for source, found in values.items()}
        return lambda texts: [self._one(text, limits) for text in texts]

    def _one(self, text: Scored, limits: Mapping[str, float]) -> Decision:
        value, limit = text.score(self.by), limits[text.source]
        kept = value >= limit
        share = f"the upper {self.keep[text.source]:.0%} of {text.source} texts begin at {limit:.3f}"
        return kept, f"{self.by} {value:.3f}; {share}"

    @staticmethod
    def _limit(found: Sequence[float], keep: float) -> float:
        """The lowest score that stays."""
        count = round(keep * len(found))
        return float(np.sort(np.asarray(found))[::-1][count - 1]) if count else float("inf")
