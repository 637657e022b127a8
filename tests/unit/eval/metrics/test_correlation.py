"""Correlations against SciPy and ROC AUC against scikit-learn, with ties; resamples against the samples written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from vltk.errors import VltkError
from vltk.eval.metrics.correlation import pearson, roc_auc, spearman, tied


def scores(samples: int = 150, seed: int = 0, places: int = 1) -> tuple[Any, Any]:
    """Predictions and labels with many ties, far from zero."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=samples)
    return 1000 + np.round(labels + rng.normal(size=samples), places), np.round(labels, places)


@pytest.mark.parametrize("ours,theirs", [(pearson, stats.pearsonr), (spearman, stats.spearmanr)])
def test_correlations_against_scipy(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    for seed in range(5):
        predicted, labels = scores(seed=seed)
        assert ours(predicted, labels) == pytest.approx(100 * theirs(predicted, labels).statistic)
        assert ours(-predicted, labels) == pytest.approx(-ours(predicted, labels))


def test_roc_auc_against_scikit_learn_and_a_loop() -> None:
    predicted, labels = scores(60)
    labels = (labels > 0).astype(int)
    pairs = [
        (one > other) + (one == other) / 2
        for one, label in zip(predicted, labels, strict=True)
        if label
        for other in predicted[labels == 0]
    ]
    assert roc_auc(predicted, labels) == pytest.approx(100 * np.mean(pairs))
    assert roc_auc(predicted, labels) == pytest.approx(100 * roc_auc_score(labels, predicted))
    assert roc_auc(np.zeros(60), labels) == 50


def test_a_resample_is_the_metric_of_its_samples() -> None:
    predicted, labels = scores()
    classes = (labels > 0).astype(int)
    rows = np.random.default_rng(1).integers(0, 150, (6, 150))
    counts = np.stack([np.bincount(row, minlength=150) for row in rows])
    for ours, labels_of, theirs in (
        (pearson, labels, lambda one, other: stats.pearsonr(one, other).statistic),
        (spearman, labels, lambda one, other: stats.spearmanr(one, other).statistic),
        (roc_auc, classes, lambda one, other: roc_auc_score(other, one)),
    ):
        wanted = [100 * theirs(predicted[row], labels_of[row]) for row in rows]
        assert ours(predicted, labels_of, counts) == pytest.approx(wanted)


def test_constant_predictions_have_no_correlation() -> None:
    labels = np.arange(10.0)
    assert pearson(np.full(10, 0.1), labels) == 0 and spearman(np.full(10, 0.1), labels) == 0
    assert pearson(labels, labels, np.array([[10] + [0] * 9])).tolist() == [0]


def test_what_has_one_class_or_one_value_is_refused() -> None:
    with pytest.raises(VltkError, match=r"ROC AUC needs labels of both classes, 0 and 1; the 3 labels are \[1\]"):
        roc_auc([0.1, 0.2, 0.3], [1, 1, 1])
    with pytest.raises(VltkError, match="ROC AUC needs labels of both classes"):
        roc_auc([0.1, 0.2, 0.3], [0, 1, 2])
    with pytest.raises(VltkError, match="Spearman correlation needs labels that differ; all 3 are 2"):
        spearman([0.1, 0.2, 0.3], [2, 2, 2])
    with pytest.raises(VltkError, match="ROC AUC: the value of sample number 1 is not finite: nan"):
        roc_auc([0.1, np.nan, 0.3], [0, 1, 1])


def test_what_rounding_alone_tells_apart_is_tied() -> None:
    noise = np.array([0.02261686, 0.5, 0.02261697, 0.02261686, -3.0, 0.50001], np.float32)
    found = tied(noise)
    assert len(set(found[[0, 2, 3]].tolist())) == 1 and len(set(found.tolist())) == 4
    assert found == pytest.approx(noise, abs=1e-6)
    assert roc_auc(tied(noise[[0, 2, 3]]), [0, 1, 0]) == 50 and roc_auc(noise[[0, 2, 3]], [0, 1, 0]) == 100
