"""A step along a direction that satisfies the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6)."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

from torch import Tensor

DECREASE, CURVATURE = 1e-4, 0.9
NOISE = 1e-6  # of the value (Hager and Zhang 2005): fp32 products do not tell smaller differences
LONGER = 4.0
MOST = 12  # evaluations

Evaluated = tuple[float, Tensor]  # value, gradient


@dataclass(frozen=True)
class Trial:
    """A point on the line: its step, value, slope, and gradient."""

    step: float
    value: float
    slope: float
    gradient: Tensor


def strong_wolfe(
    point: Tensor, value: float, gradient: Tensor, direction: Tensor
) -> Generator[Tensor, Evaluated, tuple[Trial | None, int]]:
    """Asks for values and gradients at points; returns the step taken, None where none lowers the value, and how often.

    The slope along the direction must be negative.
    """
    low = start = Trial(0.0, value, _dot(gradient, direction), gradient)
    high: Trial | None = None
    step = 1.0
    for asked in range(1, MOST + 1):
        new_value, new_gradient = yield point + step * direction
        trial = Trial(step, new_value, _dot(new_gradient, direction), new_gradient)
        if _too_high(trial, start, low):
            high = trial
        elif abs(trial.slope) <= -CURVATURE * start.slope:
            return trial, asked
        else:
            backwards = trial.slope >= 0 if high is None else trial.slope * (high.step - low.step) >= 0
            low, high = trial, low if backwards else high
        if high is None:
            step *= LONGER
        elif abs(high.step - low.step) <= 1e-12 * max(high.step, low.step):
            break
        else:
            step = _between(low, high)
    return low if low.step > 0 else None, asked


def _too_high(trial: Trial, start: Trial, low: Trial) -> bool:
    """Also for a value that is not a number."""
    noise = NOISE * abs(start.value)
    enough = trial.value <= start.value + DECREASE * trial.step * start.slope + noise
    return not (enough and trial.value <= low.value + noise)


def _between(low: Trial, high: Trial) -> float:
    """The minimum of the cubic through both, a tenth of the distance or more from the ends; the middle without one."""
    width, part = high.step - low.step, 0.5
    first = low.slope + high.slope - 3 * (high.value - low.value) / width
    inside = first * first - low.slope * high.slope
    if 0 <= inside < math.inf:  # neither for a value that is not finite
        second = math.copysign(math.sqrt(inside), width)
        below = high.slope - low.slope + 2 * second
        part = 1 - (high.slope + second - first) / below if below else 0.5
    return low.step + min(max(part, 0.1), 0.9) * width


def _dot(one: Tensor, other: Tensor) -> float:
    return float((one * other).sum())
