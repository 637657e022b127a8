"""The smallest difference of two accuracies that a test set of n samples shows with 80 % probability."""

from __future__ import annotations

from vltk.errors import VltkError
from vltk.eval.statistics.intervals import LEVEL, normal_quantile

POWER = 0.8


def detectable(n: int, *, accuracy: float, disagree: float | None = None, level: float = LEVEL) -> float:
    """In points, around `accuracy` (percent), by the normal approximation.

    `disagree` (percent) of the samples are right in one of two runs alone, as a paired test sees it; without it, the
    runs are taken as independent.
    """
    if n <= 0 or not 0 <= accuracy <= 100 or not (disagree is None or 0 <= disagree <= 100):
        raise VltkError(f"n > 0, percents of 0 to 100 are wanted; got n={n}, {accuracy=}, {disagree=}")
    share = accuracy / 100
    variance = 2 * share * (1 - share) if disagree is None else disagree / 100
    return 100 * (normal_quantile((1 + level) / 2) + normal_quantile(POWER)) * (variance / n) ** 0.5
