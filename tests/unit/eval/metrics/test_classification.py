"""Metrics of classes against scikit-learn, and resamples against the samples written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from vltk.errors import VltkError
from vltk.eval.metrics.classification import accuracy, f1, matthews, mean_per_class


def drawn(classes: int, samples: int = 200, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    return np.where(rng.random(samples) < 0.6, labels, rng.integers(0, classes, samples)), labels


CASES: list[tuple[Callable[..., Any], Callable[..., Any], int]] = [
    (accuracy, oracle.accuracy_score, 5),
    (mean_per_class, oracle.balanced_accuracy_score, 5),
    (f1, oracle.f1_score, 2),
    (matthews, oracle.matthews_corrcoef, 2),
    (matthews, oracle.matthews_corrcoef, 5),
]


@pytest.mark.parametrize("ours,theirs,classes", CASES)
def test_against_scikit_learn(ours: Callable[..., Any], theirs: Callable[..., Any], classes: int) -> None:
    for seed in range(5):
        predicted, labels = drawn(classes, seed=seed)
        assert ours(predicted, labels) == pytest.approx(100 * theirs(labels, predicted))


@pytest.mark.parametrize("ours,theirs,classes", CASES)
def test_a_resample_is_the_metric_of_its_samples(
    ours: Callable[..., Any], theirs: Callable[..., Any], classes: int
) -> None:
    predicted, labels = drawn(classes)
    rows = np.random.default_rng(1).integers(0, 200, (6, 200))
    found = ours(predicted, labels, np.stack([np.bincount(row, minlength=200) for row in rows]))
    assert found == pytest.approx([100 * theirs(labels[row], predicted[row]) for row in rows])


def test_constant_predictions() -> None:
    labels = np.array([0, 1, 1, 0, 1])
    assert matthews(np.ones(5), labels) == 0 and matthews(labels, np.ones(5, int)) == 0
    assert f1(np.zeros(5), labels) == 0 and f1(np.zeros(5), np.zeros(5)) == 0
    assert mean_per_class(np.ones(5), labels) == 50 and accuracy(np.ones(5), labels) == 60


def test_a_class_that_a_resample_leaves_out_is_not_in_its_mean() -> None:
    assert mean_per_class([0, 1, 0], [0, 1, 2], np.array([[1, 1, 0], [1, 1, 1]])).tolist() == pytest.approx(
        [100, 200 / 3]
    )


def test_wrong_input_is_named() -> None:
    with pytest.raises(VltkError, match="F1 is of the classes 0 and 1; sample number 2 has 2"):
        f1([0, 1, 2], [0, 1, 1])
    with pytest.raises(VltkError, match="accuracy needs one number a sample in each column"):
        accuracy([0, 1], [0])
    with pytest.raises(VltkError, match="accuracy needs one number a sample in each column"):
        accuracy([], [])
