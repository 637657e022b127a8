"""Every text stays that passes the gates: captions without a filter (BLIP, arXiv 2201.12086 table 1)."""

from __future__ import annotations

from collections.abc import Sequence

from vltk.capfilt.rules._contract import Decide, Decision, Scored, Values


class All:
    """Needs no filter."""

    by = None

    def fit(self, values: Values) -> Decide:
        return self._decide

    @staticmethod
    def _decide(texts: Sequence[Scored]) -> list[Decision]:
        return [(True, "all are kept")] * len(texts)
