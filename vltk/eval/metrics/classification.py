"""Accuracy, mean per-class accuracy, F1 and Matthews correlation of predicted classes, in percent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vltk.errors import VltkError
from vltk.eval.metrics.counted import Counts, aligned, number, ratio, total, totals_by


def accuracy(predicted: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """predicted, labels (N,) -> percent right."""
    predicted, labels = aligned("accuracy", predicted, labels)
    drawn = len(labels) if counts is None else counts.sum(-1)
    return number(100 * ratio(total(predicted == labels, counts), np.asarray(drawn)))


def mean_per_class(predicted: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """The mean of each class's accuracy, over the classes that occur among the labels."""
    predicted, labels = aligned("mean per-class accuracy", predicted, labels)
    return 100 * mean_by_class((predicted == labels).astype(np.float64), labels, counts)


def mean_by_class(values: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """values, labels (N,) -> the mean of each class's mean value, over the classes that occur among the labels."""
    values, labels = aligned("mean by class", values, labels)
    groups = np.unique(labels, return_inverse=True)[1]
    drawn = totals_by(groups, counts)  # (..., C)
    sums = totals_by(groups, values if counts is None else counts * values)
    return number(ratio(ratio(sums, drawn).sum(-1), np.asarray((drawn > 0).sum(-1), np.float64)))


def f1(predicted: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """F1 of the class 1, of classes 0 and 1; 0 where neither predictions nor labels have it."""
    predicted, labels = aligned("F1", predicted, labels)
    for column in (predicted, labels):
        _require_binary("F1", column)
    both, either = total((predicted == 1) & (labels == 1), counts), total((predicted == 1) * 1 + (labels == 1), counts)
    return number(100 * ratio(2 * both, either))


def matthews(predicted: ArrayLike, labels: ArrayLike, counts: Counts | None = None) -> Any:
    """Matthews correlation, of two classes or more (Gorodkin 2004); 0 where predictions or labels are constant."""
    predicted, labels = aligned("Matthews correlation", predicted, labels)
    classes = np.unique(np.concatenate([predicted, labels]))
    given, guessed = (total(column[:, None] == classes, counts) for column in (labels, predicted))  # (..., C)
    right, drawn = total(predicted == labels, counts), given.sum(-1)
    shared = right * drawn - (given * guessed).sum(-1)
    spread = [drawn**2 - (column**2).sum(-1) for column in (given, guessed)]
    return number(100 * ratio(shared, np.sqrt(spread[0] * spread[1])))


def _require_binary(metric: str, column: NDArray[Any]) -> None:
    outside = ~np.isin(column, (0, 1))
    if outside.any():
        place = int(outside.argmax())
        raise VltkError(f"{metric} is of the classes 0 and 1; sample number {place} has {column[place]}")
