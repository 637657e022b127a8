"""The page of a CapFilt job, put together: what it is of, warnings, what was kept and why not, texts to look at."""

from __future__ import annotations

from datetime import datetime
from html import escape
from pathlib import Path

from vltk.capfilt.job import Job
from vltk.report.capfilt.counted import Counted, count
from vltk.report.capfilt.extent import SCORES, Extent, extent
from vltk.report.capfilt.made import SHORT, Made, read, several, told, words
from vltk.report.capfilt.warnings import warnings
from vltk.report.capfilt.words import frequent, variety
from vltk.report.histogram import Part, histogram
from vltk.report.page import facts, notice, page, section, table
from vltk.report.plots import charts
from vltk.whole import whole

FILE = "report.html"


def build(job: Job) -> Path:
    """Writes report.html of the job. Raises Missing where nothing is selected yet."""
    made = read(job)
    found = extent(made)
    counted = count(job, found)
    texts = {name: one.words for name, one in counted.sources.items()}
    body = [
        _header(made, counted),
        *map(notice, warnings(made, found, counted)),
        section("What was kept", _kept(counted), name="kept"),
        section("Scores", _scores(counted, found), name="scores"),
        section("Why texts were rejected", _reasons(counted), name="reasons"),
        *counted.gallery.sections(),
        section("Words", variety(texts), name="words"),
        section("The most frequent texts", frequent(job, texts), name="frequent"),
        section("How it was made", told(made), name="made"),
    ]
    path = job.folder / FILE
    with whole(path) as part:
        part.write_text(page(f"{job.name} · vltk capfilt", "\n".join(body)), encoding="utf-8")
    return path


def _header(made: Made, counted: Counted) -> str:
    written = f"written {datetime.now():%Y-%m-%d %H:%M}"
    options = made.job.options
    pairs = [
        ("images", f"{counted.samples:,}"),
        ("data", "<br>".join(escape(name) + (" (of people)" if o.human else "") for name, o in options.data.items())),
        ("captioner", _models(made, "captioner")),
        ("filter", _models(made, "filter")),
        ("rule", several(words(one["select"]) for one in made.step("decisions"))),
        ("output", escape(options.output)),
    ]
    return (
        f'<header class="top"><div class="title"><h1>{escape(made.job.name)}</h1><span class="made">{written}</span>'
        f"</div>{facts(pairs)}</header>"
    )


def _models(made: Made, role: str) -> str:
    """By name and weights."""
    found = (
        f"{escape(str(one['run']))} <small>{escape(str(one['weights'])[:SHORT])}</small>" for one in made.models(role)
    )
    return "<br>".join(found) or "none"


def _kept(counted: Counted) -> str:
    total = max(1, counted.outcomes.total())
    figures = "".join(
        f"<div><span>{escape(name)}</span><b>{100 * number / total:.1f} %</b><small>{number:,} images</small></div>"
        for name, number in counted.outcomes.most_common()
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
        for name, one in counted.sources.items()
    ]
    heads = ("source of the text", "texts", "kept", "rejected", "", "share kept")
    return f'<div class="figures">{figures}</div>' + table(heads, rows, numeric=(1, 2, 3, 5))


def _scores(counted: Counted, found: Extent) -> str:
    drawn = []
    for score in found.ranges:
        for source, one in counted.sources.items():
            kept, rejected = one.scores[score]
            mark = found.cuts.get(source) if score == found.by else None
            parts = [Part("kept", 2, kept), Part("rejected", 6, rejected)]
            drawn.append(histogram(f"{source}: {SCORES[score]}", parts, mark))
    return charts(drawn) or notice("Nothing was scored.")


def _reasons(counted: Counted) -> str:
    rows = [(escape(reason), f"{number:,}") for reason, number in counted.reasons.most_common()]
    return table(("source and reason", "texts"), rows, numeric=(1,)) if rows else ""
