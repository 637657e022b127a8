"""95 % intervals: Wilson's of a share, percentiles of resampled values, and that of a sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vltk.errors import VltkError

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, and by which method: as results show it."""

    low: float
    high: float
    method: str


def wilson(right: int, n: int, level: float = LEVEL) -> Interval:
    """The score interval (Wilson 1927) of `right` of `n`, in percent: for accuracies, also near 0 and 100."""
    if not 0 <= right <= n or n == 0:
        raise VltkError(f"an interval of a share needs 0 <= right <= n, n > 0; got {right} of {n}")
    z = normal_quantile((1 + level) / 2)
    share, spread = right / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * ((share * (1 - share) + spread / 4) / n) ** 0.5
    return Interval(100 * max(0.0, middle - half), 100 * min(1.0, middle + half), "wilson")


def percentiles(replicates: ArrayLike, method: str, level: float = LEVEL) -> Interval:
    """The middle `level` of resampled values (R,)."""
    low, high = np.quantile(np.asarray(replicates), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), method)


def of_sum(values: ArrayLike, lows: ArrayLike, highs: ArrayLike) -> Interval:
    """Of the sum of independent values (N,), from an interval of each: their reaches added as deviations are (the MOVER
    of Zou and Donner 2008). That of a single value is its own."""
    values = np.asarray(values, np.float64)
    below, above = (float(np.linalg.norm(values - np.asarray(ends))) for ends in (lows, highs))
    return Interval(float(values.sum()) - below, float(values.sum()) + above, "mover")


def normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)
