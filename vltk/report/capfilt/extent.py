"""Known of all scores before they are counted: between which values they lie, and where the rule parts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vltk.capfilt import select
from vltk.capfilt.rules._contract import Rule, by_source
from vltk.capfilt.rules.percentile import Percentile
from vltk.report.capfilt.made import Made
from vltk.report.histogram import span

SCORES = {"itm": "probability of a match", "itc": "cosine", "logprob": "log probability of its tokens"}


@dataclass
class Extent:
    """`ranges`: of each score that some text has, the lowest and the highest. `cuts`: of each source the score from
    which texts are kept, where the rule has one; `by` which score."""

    by: str | None
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    cuts: dict[str, float] = field(default_factory=dict)

    @property
    def ranked(self) -> str | None:
        """The score by which texts are put in order: the rule's, else the filter's, else the captioner's."""
        return self.by or next((score for score in SCORES if score in self.ranges), None)

    def spans(self) -> dict[str, tuple[float, float]]:
        """Round numbers around each score, and around the cuts of the rule's that are near enough to it."""
        return {score: span([*found, *self._near(score)]) for score, found in self.ranges.items()}

    def _near(self, score: str) -> list[float]:
        """The cuts that leave the scores half of a chart; one that is farther away, as -1 of cosines, parts nothing."""
        low, high = self.ranges[score]
        width = high - low
        return [cut for cut in self.cuts.values() if score == self.by and low - width <= cut <= high + width]


def extent(made: Made) -> Extent:
    """Reads the scores of all decisions once."""
    found = Extent(made.rule.by)
    lowest: dict[str, float] = {}
    tables = select.tables(made.job)
    for shard in made.job.shards:
        for row in tables.table(shard.name, ["source", "kept", *SCORES]).to_pylist():
            for score in SCORES:
                if (value := row[score]) is not None:
                    low, high = found.ranges.get(score, (value, value))
                    found.ranges[score] = min(low, value), max(high, value)
            if row["kept"] and found.by is not None and (value := row[found.by]) is not None:
                lowest[row["source"]] = min(lowest.get(row["source"], value), value)
    found.cuts = _cuts(made.rule, lowest)
    return found


def _cuts(rule: Rule, lowest: Mapping[str, float]) -> dict[str, float]:
    """By source; `lowest` is the lowest score that was kept, where a percentile cuts."""
    if isinstance(rule, Percentile):
        return dict(lowest)
    threshold = getattr(rule, "threshold", None)
    return {} if threshold is None else dict(by_source(threshold, "threshold"))
