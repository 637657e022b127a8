"""Bootstrap: samples drawn again with replacement, class by class or cluster by cluster, seeded, many at a time.

Draws depend on the seed and the strata alone: metrics and runs that share both are resampled together, so that
differences and averages of them have the right spread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vltk.errors import VltkError

RESAMPLES = 2000
AT_ONCE = 1 << 21  # counts held together

Replicates = NDArray[np.float64]  # (R,) resampled values
Counts = NDArray[np.int64]  # (r, N): how often each resample draws each sample


def stratified(
    metric: Callable[[Counts], Any], strata: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Replicates:
    """Resampled values of `metric`, which is given counts: each class of `strata` (N,) keeps its size.

    For F1, Matthews, ROC AUC and mean per-class accuracy by the labels; for correlations all samples are one stratum.
    """
    return np.concatenate([np.atleast_1d(metric(counts)) for counts in draws(strata, resamples, seed)])


def clustered(values: ArrayLike, clusters: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Replicates:
    """Resampled means of values (N,), whole clusters (N,) drawn: the captions or questions of an image go together."""
    values, clusters = np.asarray(values, np.float64), np.asarray(clusters)
    if values.shape != clusters.shape or not values.size:
        raise VltkError(f"a cluster bootstrap needs one cluster a value; got {clusters.shape} for {values.shape}")
    groups = np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(groups, values), np.bincount(groups).astype(np.float64)
    parts = [(counts @ sums) / (counts @ sizes) for counts in draws(np.zeros(len(sums)), resamples, seed)]
    return np.concatenate(parts)


def draws(strata: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Counts]:
    """Counts (r, N) of `resamples` resamples in all; each stratum is drawn from itself."""
    strata = np.asarray(strata)
    if strata.ndim != 1 or not strata.size:
        raise VltkError(f"a bootstrap needs one stratum a sample; got the shape {strata.shape}")
    order = np.argsort(strata, kind="stable")
    _, sizes = np.unique(strata, return_counts=True)
    starts, each = np.repeat(sizes.cumsum() - sizes, sizes), np.repeat(sizes, sizes)
    rng = np.random.default_rng(seed)
    together = max(1, AT_ONCE // len(strata))
    for first in range(0, resamples, together):
        rows = min(together, resamples - first)
        taken = order[starts + rng.integers(each, size=(rows, len(strata)))]
        flat = (taken + len(strata) * np.arange(rows)[:, None]).ravel()
        yield np.bincount(flat, minlength=rows * len(strata)).reshape(rows, -1)
