"""Paired tests against SciPy and by simulation: how often they speak where nothing is, and where something is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vltk.errors import VltkError
from vltk.eval.metrics.classification import accuracy, f1
from vltk.eval.statistics.detectable import detectable
from vltk.eval.statistics.paired import benjamini_hochberg, bootstrap, mcnemar


def runs(rng: np.random.Generator, n: int, disagree: float, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """What two runs get right: `disagree` of the samples in one alone, the second `effect` more often."""
    kind = rng.random(n)
    first = (kind < (disagree - effect) / 2) | (kind > disagree) & (kind < 0.8)
    second = (kind >= (disagree - effect) / 2) & (kind < 0.8)
    return first, second


def test_mcnemar_is_exact() -> None:
    first, second = np.array([1] * 9 + [0] * 2 + [1] * 50), np.array([0] * 9 + [1] * 2 + [1] * 50)
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert mcnemar(first, second) == mcnemar(second, first)
    assert mcnemar(first, first) == 1
    with pytest.raises(VltkError, match="the same samples"):
        mcnemar(first, second[:-1])


def test_the_paired_bootstrap_speaks_falsely_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    labels, said, covered = np.ones(300, int), 0, 0
    for trial in range(300):
        first, second = runs(rng, 300, 0.2)
        found = bootstrap(
            lambda c, first=first: accuracy(first, labels, c),
            lambda c, second=second: accuracy(second, labels, c),
            labels,
            resamples=300,
            seed=trial,
        )
        assert found.value == pytest.approx(100 * (second.mean() - first.mean()))
        said += found.p < 0.05
        covered += found.interval.low <= 0 <= found.interval.high
    assert 0.02 <= said / 300 <= 0.08 and 0.93 <= covered / 300 <= 0.98


def test_the_paired_bootstrap_of_any_metric() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500)
    good, poor = (np.where(rng.random(500) < share, labels, 1 - labels) for share in (0.9, 0.7))
    found = bootstrap(lambda c: f1(poor, labels, c), lambda c: f1(good, labels, c), labels, seed=2)
    assert found.value == pytest.approx(f1(good, labels) - f1(poor, labels)) and found.p < 0.01
    assert 0 < found.interval.low < found.value < found.interval.high
    same = bootstrap(lambda c: f1(good, labels, c), lambda c: f1(good, labels, c), labels)
    assert same.value == 0 and same.p == 1


def test_benjamini_hochberg_is_scipys() -> None:
    values = np.random.default_rng(0).random(35) ** 3
    assert benjamini_hochberg(values.tolist()) == pytest.approx(stats.false_discovery_control(values))
    assert benjamini_hochberg([]) == [] and benjamini_hochberg([0.03]) == [0.03]
    with pytest.raises(VltkError, match="between 0 and 1"):
        benjamini_hochberg([0.1, 1.2])


def test_a_detectable_difference_is_found_in_four_of_five() -> None:
    rng, n = np.random.default_rng(0), 1000
    effect = detectable(n, accuracy=70, disagree=20) / 100
    p_values = [mcnemar(*runs(rng, n, 0.2, effect)) for _ in range(300)]
    assert 0.74 <= np.mean(np.array(p_values) < 0.05) <= 0.86


def test_detectable_of_independent_runs() -> None:
    rng, n = np.random.default_rng(0), 711
    effect = detectable(n, accuracy=85)
    low, high = (rng.binomial(n, 0.85 + sign * effect / 200, 4000) / n for sign in (-1, 1))
    spread = ((low * (1 - low) + high * (1 - high)) / n) ** 0.5
    assert 0.77 <= np.mean((high - low) / spread > 1.96) <= 0.83
    with pytest.raises(VltkError, match="n > 0"):
        detectable(0, accuracy=50)
