"""What is counted of a job, shard by shard: outcomes of images, texts kept and rejected, scores by interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vltk.capfilt import reasons, select
from vltk.capfilt.job import Job
from vltk.capfilt.rules._contract import GENERATED, HUMAN, WEB
from vltk.capfilt.tables import Row
from vltk.report.capfilt.extent import Extent
from vltk.report.capfilt.shown import Gallery
from vltk.report.capfilt.words import Words
from vltk.report.histogram import Bins

SOURCES = (WEB, GENERATED, HUMAN)
Spans = Mapping[str, tuple[float, float]]


class Source:
    """Of the texts of one source. `scores`: of each score the texts that were kept, and those that were not."""

    def __init__(self, spans: Spans) -> None:
        self.kept = self.rejected = 0
        self.scores = {name: (Bins(*found), Bins(*found)) for name, found in spans.items()}
        self.words = Words()

    def add(self, row: Row) -> None:
        self.kept, self.rejected = self.kept + bool(row["kept"]), self.rejected + (not row["kept"])
        for name, (kept, rejected) in self.scores.items():
            if row[name] is not None:
                (kept if row["kept"] else rejected).add(row[name])
        self.words.add(row["text"])

    @property
    def count(self) -> int:
        return self.kept + self.rejected


@dataclass
class Counted:
    """`sources`: those that have texts."""

    sources: dict[str, Source]
    gallery: Gallery
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    samples: int = 0


def count(job: Job, extent: Extent) -> Counted:
    """Reads the decisions once, a shard at a time."""
    spans = extent.spans()
    found = Counted({name: Source(spans) for name in SOURCES}, Gallery(extent))
    for shard in job.shards:
        for place, (_, rows) in enumerate(select.tables(job).by_key(shard.name)):
            texts = [row for row in rows if row["text"] is not None]
            found.errors.update({row["error"] for row in rows if row["error"] is not None})
            found.outcomes[_outcome(texts, shard.human)] += 1
            found.samples += 1
            for row in texts:
                _add(found, row)
            found.gallery.add(shard, place, texts)
    if missing := sum(len(shard.positions) for shard in job.shards) - found.samples:  # images without any row
        found.outcomes["none kept"] += missing
        found.samples += missing
    found.sources = {name: one for name, one in found.sources.items() if one.count}
    return found


def _add(found: Counted, row: Row) -> None:
    found.sources[row["source"]].add(row)
    if not row["kept"]:
        found.reasons[f"{row['source']}: {reasons.kind(row['reason'])}"] += 1


def _outcome(texts: Sequence[Row], human: bool) -> str:
    kept = {row["source"] for row in texts if row["kept"]}
    if human and kept:
        return "of people"
    return {2: "both kept", 0: "none kept"}.get(len(kept), f"only {next(iter(kept), '')} kept")
