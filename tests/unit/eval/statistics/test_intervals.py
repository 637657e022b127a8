"""Intervals against SciPy, and how often they cover the truth, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vltk.errors import VltkError
from vltk.eval.metrics.classification import accuracy, f1, matthews, mean_per_class
from vltk.eval.metrics.correlation import pearson, roc_auc, spearman
from vltk.eval.statistics import resample
from vltk.eval.statistics.intervals import Interval, of_sum, percentiles, wilson

RESAMPLES = 300
SIMULATIONS = pytest.mark.parametrize("trials", [400, pytest.param(6000, marks=pytest.mark.slow)])


@pytest.mark.parametrize("right,n", [(0, 10), (3, 10), (10, 10), (250, 277), (1, 10000)])
def test_wilson_is_scipys(right: int, n: int) -> None:
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    ours = wilson(right, n)
    assert (ours.low, ours.high) == pytest.approx((100 * theirs.low, 100 * theirs.high)) and ours.method == "wilson"


def test_rte_is_known_to_six_points() -> None:
    interval = wilson(160, 277)
    assert (interval.high - interval.low) / 2 == pytest.approx(5.8, abs=0.05)


def test_wilson_covers() -> None:
    """On average over shares: that of one share jumps, as counts do."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.3, 0.95, 4000)
    found = [(share, wilson(int(rng.binomial(277, share)), 277)) for share in shares]
    assert 94 <= 100 * np.mean([one.low <= 100 * share <= one.high for share, one in found]) <= 96


def check_coverage(truth: float, draw: Callable[[np.random.Generator, int], Interval], trials: int) -> None:
    """93 to 97 % of the intervals cover the truth, give or take two standard errors of a simulation of 95 %."""
    rng = np.random.default_rng(7)
    found = [draw(rng, trial) for trial in range(trials)]
    covered, error = float(np.mean([one.low <= truth <= one.high for one in found])), (0.95 * 0.05 / trials) ** 0.5
    assert 0.93 - 2 * error <= covered <= 0.97 + 2 * error


def right_with(rng: np.random.Generator, labels: np.ndarray, share: float) -> np.ndarray:
    return np.where(rng.random(len(labels)) < share, labels, 1 - labels)


@pytest.mark.parametrize(
    "metric,truth",
    [
        (mean_per_class, 80.0),
        (f1, 100 * 2 * 0.24 / (0.24 + 0.14 + 0.30)),
        (matthews, 100 * (0.24 * 0.56 - 0.14 * 0.06) / (0.38 * 0.30 * 0.62 * 0.70) ** 0.5),
    ],
)
@SIMULATIONS
def test_stratified_bootstrap_covers(metric: Callable[..., Any], truth: float, trials: int) -> None:
    """Of 400 samples 30 % are of class 1, and each is found with a probability of 80 %."""
    labels = (np.arange(400) % 10 < 3).astype(int)

    def draw(rng: np.random.Generator, trial: int) -> Interval:
        predicted = right_with(rng, labels, 0.8)
        found = resample.stratified(lambda c: metric(predicted, labels, c), labels, resamples=RESAMPLES, seed=trial)
        return percentiles(found, "bootstrap")

    check_coverage(truth, draw, trials)


@SIMULATIONS
def test_bootstrap_of_roc_auc_covers(trials: int) -> None:
    labels = (np.arange(200) % 5 < 2).astype(int)

    def draw(rng: np.random.Generator, trial: int) -> Interval:
        scores = rng.normal(size=200) + labels
        found = resample.stratified(lambda c: roc_auc(scores, labels, c), labels, resamples=RESAMPLES, seed=trial)
        return percentiles(found, "bootstrap")

    check_coverage(100 * float(stats.norm.cdf(1 / 2**0.5)), draw, trials)


@pytest.mark.parametrize(
    "metric,truth", [(pearson, 60.0), (spearman, 100 * 6 / np.pi * float(np.arcsin(0.3)))], ids=["pearson", "spearman"]
)
@SIMULATIONS
def test_bootstrap_of_correlations_covers(metric: Callable[..., Any], truth: float, trials: int) -> None:
    def draw(rng: np.random.Generator, trial: int) -> Interval:
        labels = rng.normal(size=250)
        predicted = 0.6 * labels + 0.8 * rng.normal(size=250)
        found = resample.stratified(
            lambda c: metric(predicted, labels, c), np.zeros(250), resamples=RESAMPLES, seed=trial
        )
        return percentiles(found, "bootstrap")

    check_coverage(truth, draw, trials)


@SIMULATIONS
def test_cluster_bootstrap_covers_where_that_of_samples_does_not(trials: int) -> None:
    """Five captions of an image are found together or not at all."""
    clusters = np.repeat(np.arange(200), 5)
    seen = {"samples": 0}

    def draw(rng: np.random.Generator, trial: int) -> Interval:
        hits = (rng.random(200) < 0.4).astype(float)[clusters]
        if trial < 100:
            each = resample.clustered(hits, np.arange(1000), resamples=RESAMPLES, seed=trial)
            alone = percentiles(each, "bootstrap")
            seen["samples"] += alone.low <= 0.4 <= alone.high
        return percentiles(resample.clustered(hits, clusters, resamples=RESAMPLES, seed=trial), "cluster bootstrap")

    check_coverage(0.4, draw, trials)
    assert seen["samples"] < 75


@SIMULATIONS
def test_the_interval_of_an_average_covers(trials: int) -> None:
    """Three tasks of other sizes and accuracies, each with an interval of its own."""
    tasks = [(277, 0.6), (1000, 0.8), (150, 0.9)]

    def draw(rng: np.random.Generator, trial: int) -> Interval:
        found = [(int(rng.binomial(n, share)), n) for n, share in tasks]
        ends = [(100 * right / n, wilson(right, n)) for right, n in found]
        return of_sum(*np.transpose([(value / 3, one.low / 3, one.high / 3) for value, one in ends]))

    check_coverage(100 * float(np.mean([share for _, share in tasks])), draw, trials)


def test_draws_keep_the_size_of_each_stratum_and_are_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    strata = np.array([3, 1, 3, 1, 1, 7])
    counts = np.concatenate(list(resample.draws(strata, 50, seed=4)))
    assert counts.shape == (50, 6) and (counts[:, 5] == 1).all()
    assert (counts[:, strata == 1].sum(1) == 3).all() and (counts[:, strata == 3].sum(1) == 2).all()
    assert counts[:, strata == 1].std() > 0
    monkeypatch.setattr(resample, "AT_ONCE", 60)  # ten resamples together
    again = list(resample.draws(strata, 50, seed=4))
    assert len(again) == 5 and (np.concatenate(again) == counts).all()
    assert (next(resample.draws(strata, 50, seed=5)) != counts[:10]).any()


def test_resampled_accuracy_is_binomial() -> None:
    labels, predicted = np.zeros(300, int), (np.arange(300) % 4 == 0).astype(int)
    found = resample.stratified(lambda c: accuracy(predicted, labels, c), labels, seed=1)
    assert found.shape == (2000,) and found.mean() == pytest.approx(75, abs=0.2)
    assert found.std() == pytest.approx(100 * (0.75 * 0.25 / 300) ** 0.5, rel=0.06)


def test_a_sum_of_one_value_has_its_interval() -> None:
    assert of_sum([7.5], [2.6], [19.9]) == Interval(pytest.approx(2.6), pytest.approx(19.9), "mover")
    two = of_sum([10.0, 20.0], [7.0, 16.0], [22.0, 25.0])
    assert (two.low, two.high) == (30 - 5, 30 + 13)


def test_wrong_input_is_named() -> None:
    with pytest.raises(VltkError, match="got 11 of 10"):
        wilson(11, 10)
    with pytest.raises(VltkError, match="one cluster a value"):
        resample.clustered([1.0, 2.0], [1])
    with pytest.raises(VltkError, match="one stratum a sample"):
        next(resample.draws([]))
