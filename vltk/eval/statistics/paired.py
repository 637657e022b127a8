"""Whether two runs differ on the same samples, and on which of many tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vltk.errors import VltkError
from vltk.eval.statistics.intervals import Interval, percentiles
from vltk.eval.statistics.resample import RESAMPLES, Counts, Replicates, draws


@dataclass(frozen=True)
class Difference:
    """The second minus the first, in percent, its interval, and the p-value of no difference (two-sided)."""

    value: float
    interval: Interval
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """The exact p-value of equal accuracy, of what each run got right (N,): only samples where they disagree count."""
    from scipy.stats import binomtest  # half a second

    first, second = np.asarray(first, bool), np.asarray(second, bool)
    _same_samples(first, second)
    gained, lost = int((~first & second).sum()), int((first & ~second).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def bootstrap(
    first: Callable[[Counts], Any],
    second: Callable[[Counts], Any],
    strata: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Of a metric of both runs, each given the same counts: see vltk.eval.statistics.resample.stratified."""
    once = np.ones((1, len(np.asarray(strata))), np.int64)
    value = float(np.squeeze(second(once))) - float(np.squeeze(first(once)))
    parts = [np.atleast_1d(second(counts)) - np.atleast_1d(first(counts)) for counts in draws(strata, resamples, seed)]
    return difference(value, np.concatenate(parts))


def difference(value: float, replicates: Replicates) -> Difference:
    """From replicates (R,) of a difference whose own value is `value`."""
    size = len(replicates)
    smaller = 1 + min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return Difference(value, percentiles(replicates, "paired bootstrap"), min(1.0, 2 * smaller / (size + 1)))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (1995): taking those below 0.05 leaves 5 % false among them, over all tasks."""
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise VltkError(f"p-values lie between 0 and 1; got {list(p_values)}")
    order = np.argsort(values)[::-1]
    scaled = values[order] * len(values) / np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(np.minimum(scaled, 1))
    return [float(value) for value in adjusted]


def _same_samples(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape or first.ndim != 1:
        raise VltkError(f"a paired test needs both runs on the same samples; got {first.shape} and {second.shape}")
