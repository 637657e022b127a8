"""A radar: a spoke a number from 0 to 100 percent, a shape a run, FLAVA's figures and chance as dashed ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from vltk.report.suite.numbers import Number, shortened

WIDTH, HEIGHT, RADIUS = 520, 296, 118
FEWEST = 3  # spokes
LONGEST = 22  # letters at a spoke
RINGS = (25, 50, 75, 100)
REFERENCE = "flava"

Point = tuple[float, float]


def radar(title: str, numbers: Sequence[Number], colours: Mapping[str, int]) -> str:
    """One figure; "" with fewer than three spokes. `colours`: of the runs, by their labels."""
    shown = [number for number in numbers if number.in_percent]
    if len(shown) < FEWEST:
        return ""
    shapes = [_shape("chance", [number.any.chance for number in shown])]
    shapes += [_shape("reference", [number.any.published.get(REFERENCE, {}).get("value") for number in shown])]
    for label, colour in colours.items():
        values = [number.lines[label].value if label in number.lines else None for number in shown]
        shapes.append(_shape(f"c{colour}", values))
    legend = "".join(f'<span class="c{colour}">{escape(label)}</span>' for label, colour in colours.items())
    known = any(REFERENCE in number.any.published for number in shown)
    lines = f"<small>{'dashed: FLAVA as published; ' if known else ''}dotted: chance</small>"
    return (
        f'<figure class="chart"><figcaption><span><b>{escape(title)}, %</b> {lines}</span>'
        f'<span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(_grid(shown))}{''.join(shapes)}</svg></figure>"
    )


def _grid(numbers: Sequence[Number]) -> Iterator[str]:
    count = len(numbers)
    for ring in RINGS:
        yield f'<polygon class="web" points="{_points([float(ring)] * count)}"/>'
        x, y = _place(0, count, ring)
        yield f'<text x="{x + 3:.1f}" y="{y + 10:.1f}" class="ring">{ring}</text>'
    for index, number in enumerate(numbers):
        (x, y), (end_x, end_y) = _place(index, count, 100), _place(index, count, 108)
        side = end_x - WIDTH / 2
        anchor = "middle" if abs(side) < 8 else "start" if side > 0 else "end"
        yield f'<line class="web" x1="{WIDTH / 2}" y1="{HEIGHT / 2}" x2="{x:.1f}" y2="{y:.1f}"/>'
        title = escape(shortened(number.title, LONGEST))
        yield f'<text x="{end_x:.1f}" y="{end_y + 3.5:.1f}" text-anchor="{anchor}">{title}</text>'


def _shape(name: str, values: Sequence[float | None]) -> str:
    """Through the spokes that have a value; nothing through less than three."""
    points = _points(values)
    return f'<polygon class="shape {name}" points="{points}"/>' if points.count(",") >= FEWEST else ""


def _points(values: Sequence[float | None]) -> str:
    places = [_place(i, len(values), value) for i, value in enumerate(values) if value is not None]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _place(index: int, count: int, value: float) -> Point:
    """Clockwise from above; a correlation below 0 lies at 0."""
    angle = 2 * math.pi * index / count
    far = RADIUS * max(0.0, value) / 100
    return WIDTH / 2 + far * math.sin(angle), HEIGHT / 2 - far * math.cos(angle)
