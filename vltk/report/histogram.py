"""Histograms as inline SVG, in the style of the charts: a bar an interval, its parts on top of one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vltk.report.curves import ticks
from vltk.report.page import number
from vltk.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

BINS = 40
_UPRIGHT = f'y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Values of one kind, in a colour of the page."""

    label: str
    colour: int
    values: Values


def histogram(title: str, parts: Sequence[Part], low: float, high: float, mark: float | None = None) -> str:
    """Counts of each part between `low` and `high`, stacked; `mark` is a threshold. "" where there are no values."""
    if not sum(len(part.values) for part in parts):
        return ""
    edges = np.linspace(low, high, BINS + 1)
    counts = np.stack([np.histogram(np.clip(part.values, low, high), edges)[0] for part in parts])  # (parts, bins)
    most = int(counts.sum(0).max())
    bars = "".join(_bar(parts, counts[:, n], edges, n, most) for n in range(BINS))
    if mark is not None and low <= mark <= high:
        bars += f'<line class="mark" x1="{_x(mark, low, high):.1f}" x2="{_x(mark, low, high):.1f}" {_UPRIGHT}/>'
    labels = (f'<span class="c{part.colour}">{escape(part.label)} <b>{len(part.values):,}</b></span>' for part in parts)
    return (
        f'<figure class="chart"><figcaption><span><b>{escape(title)}</b></span><span class="legend">{"".join(labels)}'
        f'</span></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_grid(low, high, most)}{bars}</svg></figure>"
    )


def _bar(parts: Sequence[Part], counts: Any, edges: Any, n: int, most: int) -> str:
    """One interval: its parts on top of one another."""
    width, base, drawn = (WIDTH - LEFT - RIGHT) / BINS, 0, ""
    left = LEFT + n * width
    for part, count in zip(parts, counts.tolist(), strict=True):
        if count:
            top = _y(base + count, most)
            drawn += (
                f'<rect class="c{part.colour} block" x="{left:.1f}" y="{top:.1f}" width="{width - 0.6:.1f}" '
                f'height="{_y(base, most) - top:.1f}"><title>{edges[n]:.3g} to {edges[n + 1]:.3g}: {count:,} '
                f"{escape(part.label)}</title></rect>"
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
