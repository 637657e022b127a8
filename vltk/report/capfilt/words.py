"""How varied the texts of a source are: lengths, vocabulary, distinct-n, texts that come again."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from html import escape

import numpy as np

from vltk.capfilt import select
from vltk.capfilt.gates import plain
from vltk.capfilt.job import Job
from vltk.report.histogram import BINS, Bins, Part, histogram
from vltk.report.page import table
from vltk.report.plots import charts

COMMON = 12  # frequent texts that are listed


class Words:
    """Counted text by text. Of a text no more than 8 bytes are kept, of a word a number, of a pair of words another."""

    def __init__(self) -> None:
        self.lengths: Counter[int] = Counter()
        self.texts = array("q")  # a hash of each
        self._words: dict[str, int] = {}
        self._pairs: set[int] = set()

    def add(self, text: str) -> None:
        words = plain(text)
        self.lengths[len(words)] += 1
        self.texts.append(hash(" ".join(words)))
        numbers = [self._words.setdefault(word, len(self._words)) for word in words]
        self._pairs.update(one << 32 | other for one, other in zip(numbers, numbers[1:], strict=False))

    @property
    def vocabulary(self) -> int:
        return len(self._words)

    def distinct(self, size: int) -> float:
        """Distinct-n of 1 or 2: different sequences of n words over all of them, in percent (Li et al., arXiv
        1510.03055)."""
        found = len(self._words if size == 1 else self._pairs)
        return 100 * found / max(1, sum(max(0, length - size + 1) * n for length, n in self.lengths.items()))

    def repeated(self) -> float:
        """Texts that were said before, in percent."""
        return 100 * (1 - len(np.unique(self._hashes)) / max(1, len(self.texts)))

    def common(self) -> dict[int, int]:
        """Hashes of the texts that come most often and how often, of equal ones the first."""
        found, first, counts = np.unique(self._hashes, return_index=True, return_counts=True)
        order = np.lexsort((first, -counts))[:COMMON]
        return {int(found[n]): int(counts[n]) for n in order if counts[n] > 1}

    @property
    def _hashes(self) -> np.ndarray:
        return np.frombuffer(self.texts, np.int64)


def variety(sources: Mapping[str, Words]) -> str:
    rows = [
        (
            escape(name),
            f"{_mean(one.lengths):.1f}",
            f"{_quantile(one.lengths, 0.05)} to {_quantile(one.lengths, 0.95)}",
            f"{one.distinct(1):.2f} %",
            f"{one.distinct(2):.2f} %",
            f"{one.vocabulary:,}",
            f"{one.repeated():.1f} %",
        )
        for name, one in sources.items()
    ]
    heads = ("source", "words a text", "5 to 95 %", "distinct-1", "distinct-2", "vocabulary", "said before")
    return table(heads, rows, numeric=range(1, 7)) + charts(_lengths(name, one) for name, one in sources.items())


def _mean(lengths: Counter[int]) -> float:
    return sum(length * n for length, n in lengths.items()) / lengths.total()


def _quantile(lengths: Counter[int], share: float) -> int:
    """The shortest length that this share of the texts does not exceed."""
    order = sorted(lengths)
    return order[int(np.searchsorted(np.cumsum([lengths[n] for n in order]), share * lengths.total()))]


def _lengths(name: str, one: Words) -> str:
    bins = Bins(0.0, float(-(-(max(one.lengths) + 1) // BINS) * BINS))  # whole words an interval
    for length, times in one.lengths.items():
        bins.add(length, times)
    return histogram(f"{name}: words a text", [Part("texts", 0, bins)])


def frequent(job: Job, sources: Mapping[str, Words]) -> str:
    """A table of the most frequent texts of each source, "" where none comes twice."""
    common = {name: one.common() for name, one in sources.items()}
    written = _found(job, {(name, one) for name, hashes in common.items() for one in hashes})
    rows = [
        (escape(name), f'<span class="said" dir="auto">{escape(written[name, one])}</span>', f"{count:,}")
        for name, hashes in common.items()
        for one, count in hashes.items()
    ]
    return table(("source", "text", "times"), rows, numeric=(2,)) if rows else ""


def _found(job: Job, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """The texts of these sources and hashes, read until all are there."""
    found: dict[tuple[str, int], str] = {}
    for source, text in _texts(job):
        if len(found) == len(wanted):
            break
        said = " ".join(plain(text))
        if (source, hash(said)) in wanted:
            found.setdefault((source, hash(said)), said)
    return found


def _texts(job: Job) -> Iterator[tuple[str, str]]:
    for shard in job.shards:
        for row in select.tables(job).table(shard.name, ["source", "text"]).to_pylist():
            if row["text"] is not None:
                yield row["source"], row["text"]
