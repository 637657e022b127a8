"""Charts as inline SVG, coloured by the page's style: light, dark and any width from the same few kilobytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from vltk.report.curves import Curve, Values, ticks, value_range
from vltk.report.page import number

WIDTH, HEIGHT = 360, 190  # of the view box; text is 11 units high
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 24

FRAME = (  # what keeps lines inside their axes; once a page
    f'<svg width="0" height="0" class="hidden"><clipPath id="frame"><rect x="{LEFT - 4}" y="{TOP - 4}" '
    f'width="{WIDTH - LEFT + 4}" height="{HEIGHT - TOP - BOTTOM + 8}"/></clipPath></svg>'
)


@dataclass(frozen=True)
class Across:
    """What lies below a chart: how a tick of it is written, how the pointer is told a place, and which of the values
    stands in the legend."""

    tick: Callable[[float], str]
    told: Callable[[float], str]
    value: Callable[[Values], float]


STEPS = Across(lambda at: _short(at), lambda at: f"step {int(at):,}", lambda values: float(values[-1]))


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    note: str = "",
    percent: bool = False,
    floor: float | None = None,
    across: Across = STEPS,
) -> str:
    """One chart of one or several curves over steps, or what `across` says; "" when none has a point.

    `floor` is a value the axis must reach (0 for a share); `percent` says what the values are.
    """
    curves = [c for c in curves if len(c.steps)]
    if not curves:
        return ""
    frame = _Frame(curves, floor, across)
    body = frame.grid() + '<g clip-path="url(#frame)">' + "".join(map(frame.line, curves)) + "</g>"
    caption = f"<b>{escape(title)}{', %' if percent else ''}</b>" + (f" <small>{escape(note)}</small>" if note else "")
    return (
        f'<figure class="chart"><figcaption><span>{caption}</span>{_legend(curves, percent, across)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" '
        f'data-curves="{frame.data(curves)}">{body}'
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg></figure>'
    )


def charts(figures: Iterable[str]) -> str:
    """Charts side by side; "" when there is none."""
    body = "".join(figures)
    return f'<div class="charts">{body}</div>' if body else ""


def _legend(curves: Sequence[Curve], percent: bool, across: Across) -> str:
    """A smoothed value of each curve, over steps the latest, in its colour."""
    values = [across.value(c.smooth) for c in curves]
    shown = (
        f'<span class="c{c.colour}">{escape(c.label)} <b>{f"{value:.1f}" if percent else number(value)}</b></span>'
        for c, value in zip(curves, values, strict=True)
    )
    return f'<span class="legend">{"".join(shown)}</span>'


class _Frame:
    """The axes of one chart: from (step, value) to the view box."""

    def __init__(self, curves: Sequence[Curve], floor: float | None, across: Across) -> None:
        self.across = across
        self.first = min(float(c.steps[0]) for c in curves)
        self.last = max(float(c.steps[-1]) for c in curves)
        if self.last == self.first:
            self.first, self.last = self.first - 1, self.last + 1
        self.low, self.high = value_range(curves)
        if floor is not None:
            self.low, self.high = min(self.low, floor), max(self.high, floor + 1e-9)

    def x(self, steps: Values) -> Values:
        return LEFT + (steps - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, values: Values) -> Values:
        share = (values - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - np.clip(share, -0.5, 1.5) * (HEIGHT - TOP - BOTTOM)

    def points(self, steps: Values, values: Values) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(self.x(steps), self.y(values), strict=True))

    def line(self, curve: Curve) -> str:
        """The extent of the raw values (or the raw line itself, when none was left out) under the smoothed line."""
        smooth = self.points(curve.steps, curve.smooth)
        if curve.thinned:
            steps = np.concatenate([curve.steps, curve.steps[::-1]])
            band = self.points(steps, np.concatenate([curve.high, curve.low[::-1]]))
            under = f'<polygon class="band" points="{band}"/>'
        else:
            under = f'<polyline class="raw" points="{self.points(curve.steps, curve.low)}"/>'
        dots = ""
        if len(curve.steps) <= 24:
            places = zip(self.x(curve.steps), self.y(curve.smooth), strict=True)
            dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in places)
        return f'<g class="c{curve.colour}">{under}<polyline class="line" points="{smooth}"/>{dots}</g>'

    def grid(self) -> str:
        parts = []
        for value in ticks(self.low, self.high):
            y = float(self.y(np.array([value]))[0])
            parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_short(value)}</text>')
        for value in ticks(self.first, self.last):
            x = float(self.x(np.array([value]))[0])
            anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 7}" text-anchor="{anchor}">{self.across.tick(value)}</text>')
        return "".join(parts)

    def data(self, curves: Sequence[Curve]) -> str:
        """What the page's script needs to answer the pointer: places in the view box and values as text."""
        return escape(json.dumps([self._curve_data(c) for c in curves], separators=(",", ":")), quote=True)

    def _curve_data(self, curve: Curve) -> dict[str, object]:
        return {
            "label": curve.label,
            "colour": curve.colour,
            "x": [round(float(x), 1) for x in self.x(curve.steps)],
            "y": [round(float(y), 1) for y in self.y(curve.smooth)],
            "at": [self.across.told(float(step)) for step in curve.steps],
            "value": [number(float(value)) for value in curve.smooth],
        }


def _short(value: float) -> str:
    """A tick's number: 1500 as 1.5k, 0.0005 as 5e-4."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    if abs(value) < 1e-12:
        return "0"
    return f"{value:g}" if abs(value) >= 1e-3 else number(value)
