"""Pearson and Spearman correlation of predicted scores, in percent, and the area under the ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vltk.errors import VltkError
from vltk.eval.metrics.counted import Counts, Ints, Numbers, aligned, number, ratio, total, totals_by

SAME = 1e-6  # outputs closer than this are ties: fp32 does not tell them apart


def pearson(predicted: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """predicted, labels (N,); 0 for constant predictions. Raises VltkError for constant labels."""
    predicted, labels = _varied("Pearson correlation", predicted, labels)
    # From their means and by their deviations: the sums of squares below then lose no digits.
    one, other = (_standard(column) for column in (predicted, labels))
    return number(_correlation(one, other, counts))


def spearman(predicted: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """Pearson correlation of the ranks; equal values share their mean rank."""
    predicted, labels = _varied("Spearman correlation", predicted, labels)
    one, other = (_ranks(np.unique(column, return_inverse=True)[1], counts) for column in (predicted, labels))
    return number(_correlation(one, other, counts))


def roc_auc(scores: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """The share of pairs of a sample of class 1 and one of class 0 where the first has the higher score; ties half.

    Raises VltkError where the labels (N,) have one class only, or others than 0 and 1.
    """
    scores, labels = aligned("ROC AUC", scores, labels)
    if set(found := np.unique(labels).tolist()) != {0, 1}:
        raise VltkError(f"ROC AUC needs labels of both classes, 0 and 1; the {len(labels)} labels are {found[:5]}")
    groups = np.unique(scores, return_inverse=True)[1]
    each = np.ones(len(labels)) if counts is None else counts
    positive, negative = totals_by(groups, each * (labels == 1)), totals_by(groups, each * (labels == 0))  # (..., G)
    below = negative.cumsum(-1) - negative / 2
    return number(100 * ratio((positive * below).sum(-1), positive.sum(-1) * negative.sum(-1)))


def _varied(metric: str, predicted: ArrayLike, labels: ArrayLike) -> list[Numbers]:
    columns = [column.astype(np.float64) for column in aligned(metric, predicted, labels)]
    if np.ptp(columns[1]) == 0:
        raise VltkError(f"{metric} needs labels that differ; all {len(columns[1])} are {columns[1][0]:g}")
    return columns


def _standard(column: Numbers) -> Numbers:
    return np.asarray(ratio(column - column.mean(), np.asarray(column.std())))


def _ranks(groups: Ints, counts: Counts | None) -> Numbers:
    """The rank of each sample among those drawn, from the middle, over their number: (..., N)."""
    drawn = totals_by(groups, counts)
    middle = drawn.cumsum(-1) - drawn / 2
    return np.asarray((middle / drawn.sum(-1, keepdims=True) - 0.5)[..., groups])


def _correlation(one: Numbers, other: Numbers, counts: Counts | None) -> Numbers:
    """one, other (N,), or (..., N) as counts -> (...)."""
    drawn = one.shape[-1] if counts is None else counts.sum(-1)

    def mean(values: Numbers) -> Numbers:
        summed = total(values, counts) if values.ndim == 1 else (values if counts is None else values * counts).sum(-1)
        return np.asarray(summed / drawn)

    first, second = mean(one), mean(other)
    shared = mean(one * other) - first * second
    spread = [mean(column**2) - middle**2 for column, middle in ((one, first), (other, second))]
    least = 1e-12  # of deviations of 1: a resample of one value only
    known = (spread[0] > least) & (spread[1] > least)
    return 100 * ratio(np.where(known, shared, 0), np.sqrt(np.where(known, spread[0] * spread[1], 1)))


def tied(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """scores (N,) with those that fp32 hardly tells apart made equal, so that equal features are not ranked by
    rounding, which differs over a batch."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.diff(ordered, prepend=-np.inf) > SAME
    found = np.empty_like(scores)
    found[order] = ordered[starts][starts.cumsum() - 1]
    return found
