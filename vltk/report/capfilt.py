"""report.html of a CapFilt job: what was kept of which source, scores, samples to look at, how varied the texts are."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from vltk.capfilt import select
from vltk.capfilt.gates import plain, same
from vltk.capfilt.job import Job, Shard
from vltk.capfilt.known import known
from vltk.capfilt.models import Model
from vltk.capfilt.rules._contract import GENERATED, HUMAN, WEB
from vltk.data.image import BadImage, evaluation_image
from vltk.errors import Missing
from vltk.report.galleries.examples import picture
from vltk.report.histogram import BINS, Part, histogram
from vltk.report.page import facts, notice, page, section, table
from vltk.report.plots import charts
from vltk.whole import whole

SHOWN = 8  # samples of a kind
SIDE = 168  # pixels of a thumbnail
FLAT = 0.05  # span of probabilities below which a filter tells nothing apart
COMMON = 12  # frequent texts that are listed
SOURCES = (WEB, GENERATED, HUMAN)
SPANS = {"itm": (0.0, 1.0), "itc": (-1.0, 1.0)}


@dataclass(order=True)
class _Shown:
    """A text to look at, ordered by `rank`; `place` finds its image."""

    rank: float
    number: int
    row: dict[str, Any] = field(compare=False)
    shard: Shard = field(compare=False)


@dataclass
class _Source:
    """What is counted of the texts of one source."""

    scores: dict[str, tuple[list[float], list[float]]] = field(
        default_factory=lambda: {"itm": ([], []), "itc": ([], []), "logprob": ([], [])}
    )
    kept: int = 0
    rejected: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    grams: tuple[Counter[Any], Counter[Any]] = field(default_factory=lambda: (Counter(), Counter()))
    texts: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        self.kept, self.rejected = self.kept + bool(row["kept"]), self.rejected + (not row["kept"])
        for name, (kept, rejected) in self.scores.items():
            if row[name] is not None:
                (kept if row["kept"] else rejected).append(row[name])
        words = plain(row["text"])
        self.lengths[len(words)] += 1
        self.texts[same(row["text"])] += 1
        for size, grams in enumerate(self.grams, 1):
            grams.update(tuple(words[n : n + size]) for n in range(len(words) - size + 1))

    @property
    def count(self) -> int:
        return self.kept + self.rejected

    def distinct(self, size: int) -> float:
        """Distinct-n: different sequences of n words over all of them, in percent (Li et al., arXiv 1510.03055)."""
        grams = self.grams[size - 1]
        return 100 * len(grams) / max(1, grams.total())


@dataclass
class _Seen:
    """The whole job, read once."""

    sources: dict[str, _Source] = field(default_factory=lambda: {name: _Source() for name in SOURCES})
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[_Shown]] = field(default_factory=dict)
    samples: int = 0


def build(job: Job) -> Path:
    """Writes report.html of the job. Raises Missing where nothing is selected yet."""
    tables = select.tables(job)
    for shard in job.shards:
        if tables.made_of(shard.name) is None:
            again = f"vltk capfilt select {job.path}"
            raise Missing(f"nothing is decided on the shard {shard.name} yet", [("its decisions", again)])
    seen = _read(job)
    body = [
        _header(job, seen),
        *map(notice, _warnings(job, seen)),
        section("What was kept", _kept(seen), name="kept"),
        section("Scores", _scores(job, seen), name="scores"),
        section("Why texts were rejected", _reasons(seen), name="reasons"),
        *_galleries(job, seen),
        section("Words", _words(seen), name="words"),
        section("The most frequent texts", _frequent(seen), name="frequent"),
        section("How it was made", _made(job), name="made"),
    ]
    path = job.folder / "report.html"
    with whole(path) as part:
        part.write_text(page(f"{job.name} · vltk capfilt", "\n".join(body)), encoding="utf-8")
    return path


def _read(job: Job) -> _Seen:
    seen = _Seen()
    threshold = _threshold(job)
    for shard in job.shards:
        for _, rows in select.tables(job).by_key(shard.name):
            texts = [row for row in rows if row["text"] is not None]
            seen.errors.update({row["error"] for row in rows if row["error"] is not None})
            seen.outcomes[_outcome(texts, shard.human)] += 1
            seen.samples += 1
            for row in texts:
                seen.sources[row["source"]].add(row)
                if not row["kept"]:
                    seen.reasons[f"{row['source']}: {_kind(row['reason'])}"] += 1
            _show(seen, texts, shard, threshold)
    seen.samples += _without_texts(job, seen)
    return seen


def _without_texts(job: Job, seen: _Seen) -> int:
    """Images for which there is no row at all."""
    missing = sum(len(shard.positions) for shard in job.shards) - seen.samples
    seen.outcomes["none kept"] += missing
    return missing


def _outcome(texts: list[dict[str, Any]], human: bool) -> str:
    kept = {row["source"] for row in texts if row["kept"]}
    if human and kept:
        return "of people"
    return {2: "both kept", 0: "none kept"}.get(len(kept), f"only {next(iter(kept), '')} kept")


def _kind(reason: str) -> str:
    """The reason without its numbers."""
    if reason.startswith("gate "):
        return reason.partition(":")[0]
    if reason.startswith("the image cannot be read"):
        return "the image cannot be read"
    return "score too low"


def _show(seen: _Seen, texts: list[dict[str, Any]], shard: Shard, threshold: float) -> None:
    """Keeps the best, the worst and those next to the threshold, of each source; of an image one of each kind."""
    scored = [(row["source"], row["itm"] if row["itm"] is not None else row["itc"], row) for row in texts]
    for source in (WEB, GENERATED):
        own = [(value, row) for name, value, row in scored if name == source and value is not None]
        for kind, rank in (("best", float), ("worst", _least), ("borderline", lambda value: -abs(value - threshold))):
            if own:
                value, row = max(own, key=lambda one: rank(one[0]))
                held = seen.shown.setdefault(f"{kind} {source}", [])
                heapq.heappush(held, _Shown(rank(value), -seen.samples, row, shard))
                if len(held) > SHOWN:
                    heapq.heappop(held)


def _least(value: float) -> float:
    return -value


def _threshold(job: Job) -> float:
    """Of the rule, where it has one for all; else in the middle."""
    given = getattr(job.options.select, "threshold", 0.5)
    return float(given) if isinstance(given, int | float) else 0.5


def _header(job: Job, seen: _Seen) -> str:
    made = f"written {datetime.now():%Y-%m-%d %H:%M}"
    pairs = [
        ("images", f"{seen.samples:,}"),
        (
            "data",
            "<br>".join(escape(name) + (" (of people)" if o.human else "") for name, o in job.options.data.items()),
        ),
        ("captioner", escape(job.options.captioner or "none")),
        ("filter", escape(job.options.filter or "none")),
        ("rule", escape(" ".join(f"{k}={v}" for k, v in job.options.select.model_dump(mode="json").items()))),
        ("output", escape(job.options.output)),
    ]
    return (
        f'<header class="top"><div class="title"><h1>{escape(job.name)}</h1><span class="made">{made}</span></div>'
        f"{facts(pairs)}</header>"
    )


def _warnings(job: Job, seen: _Seen) -> Iterator[str]:
    for role in ("captioner", "filter"):
        spec = getattr(job.options, role)
        if spec is None:
            continue
        try:
            found = known(Model(role, spec, replace(job, force=True)))
        except Missing:
            yield f"The {role} {spec} is not there any more: what it was trained on is not known."
            continue
        yield from (f"{sentence[0].upper()}{sentence[1:]}." for sentence in [*found.told, *found.unknown])
    values = [value for one in seen.sources.values() for own in one.scores["itm"] for value in own]
    if len(values) > 1 and max(values) - min(values) < FLAT:
        told = f"{min(values):.3f} to {max(values):.3f}"
        yield f"The filter gives every text nearly the same probability of a match, {told}: it has learned nothing."
    if seen.errors:
        yield f"{seen.errors.total():,} images cannot be read, the first: {next(iter(seen.errors))}"
    for name, dataset in job.datasets.items():
        if not dataset.manifest["texts"]:
            yield f"{name} has no texts of its own: captions only."


def _kept(seen: _Seen) -> str:
    total = max(1, seen.outcomes.total())
    figures = "".join(
        f"<div><span>{escape(name)}</span><b>{100 * count / total:.1f} %</b><small>{count:,} images</small></div>"
        for name, count in seen.outcomes.most_common()
    )
    rows = [
        (
            escape(name),
            f"{one.count:,}",
            f"{one.kept:,}",
            f"{one.rejected:,}",
            f'<span class="bar" style="--share:{one.kept / one.count:.3f}"></span>',
            f"{100 * one.kept / one.count:.1f} %",
        )
        for name, one in seen.sources.items()
        if one.count
    ]
    heads = ("source of the text", "texts", "kept", "rejected", "", "share kept")
    return f'<div class="figures">{figures}</div>' + table(heads, rows, numeric=(1, 2, 3, 5))


def _scores(job: Job, seen: _Seen) -> str:
    names = {"itm": "probability of a match", "itc": "cosine", "logprob": "log probability of its tokens"}
    drawn = []
    for score, title in names.items():
        for source, one in seen.sources.items():
            kept, rejected = (np.array(values) for values in one.scores[score])
            low, high = SPANS.get(score) or _span([*kept, *rejected])
            mark = _threshold(job) if score == job.rule.by else None
            parts = [Part("kept", 2, kept), Part("rejected", 6, rejected)]
            drawn.append(histogram(f"{source}: {title}", parts, low, high, mark))
    return charts(drawn) or notice("Nothing was scored.")


def _span(values: list[float]) -> tuple[float, float]:
    return (min(values), max(values) + 1e-9) if values else (0.0, 1.0)


def _reasons(seen: _Seen) -> str:
    rows = [(escape(reason), f"{count:,}") for reason, count in seen.reasons.most_common()]
    return table(("source and reason", "texts"), rows, numeric=(1,)) if rows else ""


def _galleries(job: Job, seen: _Seen) -> Iterator[str]:
    notes = {
        "best": "The texts that the filter likes best.",
        "borderline": "Texts next to the threshold: here the rule has to be right.",
        "worst": "The texts that the filter likes least.",
    }
    for kind, note in notes.items():
        for source in (WEB, GENERATED):
            chosen = sorted(seen.shown.get(f"{kind} {source}", []), reverse=True)
            if chosen:
                yield section(f"{kind.capitalize()} {source} texts", _cards(chosen), note=note)


def _cards(chosen: Iterable[_Shown]) -> str:
    return f'<div class="words">{"".join(map(_card, chosen))}</div>'


def _card(one: _Shown) -> str:
    row = one.row
    told = " · ".join(f"{name} {row[name]:.3f}" for name in ("itm", "itc", "logprob") if row[name] is not None)
    verdict = '<span class="verdict hit">kept</span>' if row["kept"] else '<span class="verdict miss">rejected</span>'
    return (
        f'<div>{_thumbnail(one)}<p dir="auto">{escape(row["text"])} {verdict}<br>'
        f"<small>{escape(row['key'])} · {told}<br>{escape(row['reason'])}</small></p></div>"
    )


def _thumbnail(one: _Shown) -> str:
    """The image of the sample, found by its key in its shard."""
    for position in one.shard.positions:
        sample = one.shard.dataset.read(position)
        if sample.key == one.row["key"]:
            try:
                return picture(evaluation_image(sample.image or b"", SIDE), sample.key, "thumb", largest=SIDE)
            except BadImage:
                return ""
    return ""


def _words(seen: _Seen) -> str:
    rows = []
    for name, one in seen.sources.items():
        if not one.count:
            continue
        lengths = np.repeat(list(one.lengths), list(one.lengths.values()))
        repeated = one.count - len(one.texts)
        rows.append(
            (
                escape(name),
                f"{lengths.mean():.1f}",
                f"{np.quantile(lengths, 0.05):.0f} to {np.quantile(lengths, 0.95):.0f}",
                f"{one.distinct(1):.2f} %",
                f"{one.distinct(2):.2f} %",
                f"{len(one.grams[0]):,}",
                f"{100 * repeated / one.count:.1f} %",
            )
        )
    heads = ("source", "words a text", "5 to 95 %", "distinct-1", "distinct-2", "vocabulary", "said before")
    return table(heads, rows, numeric=range(1, 7)) + _length_charts(seen)


def _length_charts(seen: _Seen) -> str:
    drawn = []
    for name, one in seen.sources.items():
        lengths = np.repeat(list(one.lengths), list(one.lengths.values())).astype(float)
        high = float(np.ceil(max(lengths, default=1.0) / BINS) * BINS)  # whole words an interval
        drawn.append(histogram(f"{name}: words a text", [Part("texts", 0, lengths)], 0.0, high))
    return charts(drawn)


def _frequent(seen: _Seen) -> str:
    rows = [
        (escape(name), f'<span dir="auto">{escape(text)}</span>', f"{count:,}")
        for name, one in seen.sources.items()
        for text, count in one.texts.most_common(COMMON)
        if count > 1
    ]
    return table(("source", "text", "images"), rows, numeric=(2,)) if rows else ""


def _made(job: Job) -> str:
    options = job.options.model_dump(mode="json")
    rows = [(escape(key), f"<code>{escape(str(value))}</code>") for key, value in options.items()]
    return table(("option", "value"), rows)
