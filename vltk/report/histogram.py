"""Histograms as inline SVG, in the style of the charts: a bar an interval, its parts on top of one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vltk.report.curves import ticks
from vltk.report.page import number
from vltk.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

BINS = 40
_UPRIGHT = f'y1="{TOP}" y2="{HEIGHT - BOTTOM}"'


class Bins:
    """Counts of values between `low` and `high`, added one by one; values outside count at the ends."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.counts = [0] * BINS

    def add(self, value: float, times: int = 1) -> None:
        place = math.floor((value - self.low) / (self.high - self.low) * BINS + 1e-9)
        self.counts[min(max(place, 0), BINS - 1)] += times

    @property
    def total(self) -> int:
        return sum(self.counts)

    def edge(self, n: int) -> float:
        """Where interval n begins."""
        return self.low + n * (self.high - self.low) / BINS


@dataclass(frozen=True)
class Part:
    """Values of one kind, in a colour of the page."""

    label: str
    colour: int
    bins: Bins


def span(values: Sequence[float]) -> tuple[float, float]:
    """Round numbers around all of the values, with BINS intervals as round between them."""
    low, high = min(values), max(values)
    step = _round(max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6) / BINS)
    first = math.floor(low / step + 1e-9)
    while high > (first + BINS) * step * (1 + 1e-9):
        step = _round(step * 1.01)
        first = math.floor(low / step + 1e-9)
    return first * step, (first + BINS) * step


def _round(value: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * part for part in (1, 2, 2.5, 5, 10) if power * part >= value * (1 - 1e-9))


def histogram(title: str, parts: Sequence[Part], mark: float | None = None) -> str:
    """Counts of each part, of equal bins, stacked; `mark` is a threshold. "" where there are no values."""
    if not sum(part.bins.total for part in parts):
        return ""
    most = max(map(sum, zip(*(part.bins.counts for part in parts), strict=True)))
    low, high = parts[0].bins.low, parts[0].bins.high
    bars = "".join(_bar(parts, n, most) for n in range(BINS))
    if mark is not None and low <= mark <= high:
        x = f"{_x(mark, low, high):.1f}"
        bars += f'<line class="mark" x1="{x}" x2="{x}" {_UPRIGHT}><title>threshold {mark:.4g}</title></line>'
    labels = (f'<span class="c{part.colour}">{escape(part.label)} <b>{part.bins.total:,}</b></span>' for part in parts)
    return (
        f'<figure class="chart"><figcaption><span><b>{escape(title)}</b></span><span class="legend">{"".join(labels)}'
        f'</span></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_grid(low, high, most)}{bars}</svg></figure>"
    )


def _bar(parts: Sequence[Part], n: int, most: int) -> str:
    """One interval: its parts on top of one another."""
    width, base, drawn = (WIDTH - LEFT - RIGHT) / BINS, 0, ""
    left = LEFT + n * width
    for part in parts:
        if count := part.bins.counts[n]:
            top = _y(base + count, most)
            drawn += (
                f'<rect class="c{part.colour} block" x="{left:.1f}" y="{top:.1f}" width="{width - 0.6:.1f}" '
                f'height="{_y(base, most) - top:.1f}"><title>{part.bins.edge(n):.3g} to {part.bins.edge(n + 1):.3g}: '
                f"{count:,} {escape(part.label)}</title></rect>"
            )
            base += count
    return drawn


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(count: float, most: int) -> float:
    return HEIGHT - BOTTOM - count / most * (HEIGHT - TOP - BOTTOM)


def _grid(low: float, high: float, most: int) -> str:
    parts = []
    for value in ticks(0, most):
        y = _y(value, most)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(value)}</text>')
    for value in ticks(low, high):
        x = _x(value, low, high)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="middle">{value:g}</text>')
    return "".join(parts)
