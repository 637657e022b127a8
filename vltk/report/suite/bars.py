"""Bars of differences around zero with 95 % intervals: between runs, and to published figures (as FLAVA, figure 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from vltk.eval.several import Outcome
from vltk.report.page import section
from vltk.report.suite.numbers import Number

REFERENCE, REFERENCE_NAME = "flava", "FLAVA"
CLEAR = 0.05  # an adjusted p-value below it is no chance


@dataclass(frozen=True)
class Bar:
    """A difference in points. `clear`: it is no chance; `hollow`: the two were not measured alike, as far as known."""

    title: str
    value: float
    low: float | None
    high: float | None
    clear: bool
    hollow: bool = False
    told: str = ""


def between(made: Outcome, numbers: Sequence[Number]) -> str:
    """Of each later run against the first one, on the same samples; for a series of checkpoints see their curves."""
    shown = {(number.task, metric): number for number in numbers for metric in number.metrics if number.in_percent}
    first, *others = made.labels
    parts = []
    for label in others:
        rows = [one for one in made.contrasts if one.run == label and (one.task, one.metric) in shown]
        bars = [
            Bar(_title(shown[one.task, one.metric], one.metric), one.value, one.low, one.high, one.adjusted < CLEAR,
                told=f"p = {one.adjusted:.2g}")
            for one in rows
        ]  # fmt: skip
        if bars:
            parts.append(f'<h4 class="names">{escape(label)} minus {escape(first)}</h4>{_drawn(bars)}')
    note = (
        "Points, paired on the same samples; lines are 95 % intervals. Coloured where the difference is no chance "
        f"(p below {CLEAR}, adjusted over everything that is compared), grey where it may be."
    )
    return section("Differences between runs", "".join(parts), note=note)


def to_published(label: str, numbers: Sequence[Number]) -> str:
    """Of one run against FLAVA's figures."""
    bars = [bar for number in numbers if label in number.lines for bar in _to_published(number, label)]
    note = (
        f"Points of {escape(label)}; lines are the 95 % intervals of our side. Hollow where split, samples or metric "
        "are not known to be the same, which includes every row under a limit or a short budget."
    )
    return section(f"Differences to {REFERENCE_NAME} as published", _drawn(bars) if bars else "", note=note)


def _to_published(number: Number, label: str) -> Iterator[Bar]:
    line = number.lines[label]
    figure = line.published.get(REFERENCE)
    if figure is None:
        return
    theirs = figure["value"]
    low, high = (None if end is None else end - theirs for end in (line.low, line.high))
    clear = low is not None and high is not None and not low <= 0 <= high
    told = f"{line.value:.1f}, published {theirs:.1f}"
    yield Bar(number.title, line.value - theirs, low, high, clear, figure["comparable"] is not True, told)


def _title(number: Number, metric: str) -> str:
    """A number that is a mean stands with each of its metrics: those are what is compared."""
    return number.title if len(number.metrics) == 1 else f"{number.task} {metric}"


def _drawn(bars: Sequence[Bar]) -> str:
    reach = max(1.0, *(abs(end) for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None))
    return f'<div class="bars">{"".join(_rows(bars, reach))}</div>'


def _rows(bars: Iterable[Bar], reach: float) -> Iterator[str]:
    for bar in bars:
        side = "even" if not bar.clear else "more" if bar.value > 0 else "less"
        kind = f"{side} hollow" if bar.hollow else side
        left, right = sorted((50.0, _at(bar.value, reach)))
        whisker = ""
        if bar.low is not None and bar.high is not None:
            low, high = _at(bar.low, reach), _at(bar.high, reach)
            whisker = f'<u style="left:{low:.2f}%;width:{high - low:.2f}%"></u>'
        yield (
            f'<span>{escape(bar.title)}</span><div class="{kind}">'
            f'<b style="left:{left:.2f}%;width:{right - left:.2f}%"></b>{whisker}</div>'
            f"<em>{bar.value:+.1f}</em><small>{escape(bar.told)}</small>"
        )


def _at(value: float, reach: float) -> float:
    """Percent of the width, zero in the middle."""
    return 50 + 48 * value / reach
