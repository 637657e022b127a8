"""Sums over samples, each of which may be drawn several times, or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vltk.errors import VltkError

Numbers = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[Any]  # (..., N): how often each sample is drawn


def aligned(metric: str, *columns: ArrayLike) -> list[NDArray[Any]]:
    """The columns (N,) as arrays. Raises VltkError where their lengths differ, or nothing is in them."""
    arrays = [np.asarray(column) for column in columns]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 1 or not arrays[0].size:
        raise VltkError(f"{metric} needs one number a sample in each column; got the shapes {sorted(shapes)}")
    for array in arrays:
        finite = np.isfinite(array)
        if not finite.all():
            place = int(finite.argmin())
            raise VltkError(f"{metric}: the value of sample number {place} is not finite: {array[place]}")
    return arrays


def total(values: NDArray[Any], counts: Counts | None) -> Numbers:
    """values (N,) or (N, K) -> their sums (...) or (..., K)."""
    if counts is None:
        return np.asarray(values.sum(0, dtype=np.float64))
    return np.asarray(counts.astype(np.float64, copy=False) @ values.astype(np.float64, copy=False))


def totals_by(groups: Ints, counts: Counts | None) -> Numbers:
    """How often each of the groups 0 to G - 1 is drawn, by the samples' groups (N,) -> (..., G)."""
    order = np.argsort(groups, kind="stable")
    first = np.searchsorted(groups[order], np.arange(int(groups.max()) + 1))
    each = np.ones(len(groups)) if counts is None else np.asarray(counts, np.float64)
    return np.asarray(np.add.reduceat(each[..., order], first, axis=-1))


def ratio(above: Numbers, below: Numbers) -> Numbers:
    """above / below, 0 where nothing is below."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below != 0)


def number(values: Numbers) -> Any:
    """A float for one value, else the array as it is."""
    return float(values) if np.ndim(values) == 0 else values
