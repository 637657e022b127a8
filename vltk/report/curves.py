"""From logged values to curves that can be read and stay small: a smoothed line over the extent of the raw values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
POINTS = 240  # most points a curve keeps: one to 1.5 pixels of a chart


@dataclass(frozen=True)
class Curve:
    """One line of a chart, all arrays (P,): steps, smoothed values, lowest and highest raw value around each."""

    label: str
    colour: int
    steps: Values
    smooth: Values
    low: Values
    high: Values
    last: float  # last raw value

    @property
    def thinned(self) -> bool:
        return bool((self.low != self.high).any())


def curve(label: str, colour: int, steps: Sequence[float], values: Sequence[float], smoothing: float = 0.06) -> Curve:
    """Curve of finite values; `smoothing` is the width of the averaging window as part of the whole."""
    x, y = np.asarray(steps, float), np.asarray(values, float)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    smooth = _moving_average(y, int(len(y) * smoothing) // 2)
    groups = np.array_split(np.arange(len(x)), min(POINTS, len(x))) if len(x) else []
    low, high = (np.array([pick(y[group]) for group in groups]) for pick in (np.min, np.max))
    middle = np.array([group[len(group) // 2] for group in groups], int)
    if len(groups) > 1:
        middle[0], middle[-1] = 0, len(x) - 1
    return Curve(label, colour, x[middle], smooth[middle], low, high, float(y[-1]) if len(y) else float("nan"))


def _moving_average(values: Values, half: int) -> Values:
    """Mean over up to 2 * half + 1 values around each; near the ends over those there are."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)


def value_range(curves: Sequence[Curve]) -> tuple[float, float]:
    """The values a chart shows: all of the smoothed curves after their first 2 %, and nearly all of the raw ones."""
    shown = [c.smooth[len(c.smooth) // 50 :] for c in curves]
    raw = np.concatenate([np.concatenate([c.low, c.high]) for c in curves])
    edges = np.percentile(raw, [1, 99] if len(raw) > 40 else [0, 100])
    low = min(float(edges[0]), *(float(s.min()) for s in shown))
    high = max(float(edges[1]), *(float(s.max()) for s in shown))
    if high - low < 1e-12 * max(1.0, abs(high)):
        pad = abs(high) * 0.1 or 1.0
        return low - pad, high + pad
    return low, high


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten apart) within low..high."""
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    choices = [_multiples(low, high, power * part) for part in (1, 2, 2.5, 5, 10)]
    return min(choices, key=lambda values: abs(len(values) - count))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{step * i:.12g}") for i in range(first, last + 1)]
