"""Best of several: of each source the text of an image with the highest score, where that is high enough."""

from __future__ import annotations

from collections.abc import Sequence

from vltk.capfilt.rules._contract import Decide, Decision, Score, Scored, Values


class Best:
    """With `caption.samples` above 1: one of the generated texts, and one of those that came with the image."""

    def __init__(self, *, by: Score = "itm", threshold: float = 0.5) -> None:
        self.by, self.threshold = by, threshold

    def fit(self, values: Values) -> Decide:
        return self._decide

    def _decide(self, texts: Sequence[Scored]) -> list[Decision]:
        best: dict[str, int] = {}
        for number, text in enumerate(texts):
            first = best.setdefault(text.source, number)
            if text.score(self.by) > texts[first].score(self.by):
                best[text.source] = number
        return [self._one(text, best[text.source] == number) for number, text in enumerate(texts)]

    def _one(self, text: Scored, is_best: bool) -> Decision:
        value = text.score(self.by)
        if not is_best:
            return False, f"another {text.source} text has a higher {self.by} than {value:.3f}"
        kept = value >= self.threshold
        return kept, f"best {text.source} text, {self.by} {value:.3f} {'>=' if kept else '<'} {self.threshold:g}"
