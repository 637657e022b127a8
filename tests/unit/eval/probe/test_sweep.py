"""The choice of the penalty, what is held back for it, and what cannot be probed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.eval.probe.problems import correlated, oracle
from vltk.errors import VltkError
from vltk.eval.probe import sweep
from vltk.eval.probe.examples import Examples
from vltk.eval.probe.sweep import search


def test_the_sweep_is_clips() -> None:
    """Seven penalties, then four times two around the best, unless the best lies at the end of the range."""
    features, labels = correlated(200, 30, 3, noise=2.0)
    found = search(Examples(features, labels), seed=1)
    penalties = np.log10([tried.fit.penalty for tried in found.sweep])
    assert {-6, -4, -2, 0, 2, 4, 6} <= set(np.round(penalties, 6)) and len(penalties) == 15
    assert np.allclose(penalties * 8, np.round(penalties * 8)) and (np.diff(penalties) > 0).all()
    best = np.log10(found.fit.penalty)
    assert np.isclose(np.abs(penalties - best), 1 / 8).sum() == 2
    top = max(tried.accuracy for tried in found.sweep)
    assert found.fit.penalty == max(tried.fit.penalty for tried in found.sweep if tried.accuracy == top)
    assert found.fit.converged and not found.record()["penalty_at_end_of_range"]


def test_each_accuracy_is_that_of_scikit_learn_at_this_penalty() -> None:
    features, labels = correlated(300, 30, 3)
    train, validation = Examples(features[:200], labels[:200]), Examples(features[200:], labels[200:])
    found = search(train, validation, penalties=[1000.0, 1.0, 0.1])
    assert [tried.fit.penalty for tried in found.sweep] == [0.1, 1.0, 1000.0] and found.validation_n == 100
    for tried in found.sweep:
        theirs = oracle(train.features, train.labels, tried.fit.penalty)
        assert tried.accuracy == pytest.approx(100 * theirs.score(validation.features, validation.labels))
    both = oracle(features, labels, found.fit.penalty)
    assert (found.predict(Examples(features, labels)) == both.predict(features)).mean() > 0.99


def test_a_class_that_only_validation_knows_is_learnt_at_the_end() -> None:
    features, labels = correlated(300, 12, 4)
    few = np.flatnonzero(labels[:200] != 2)
    found = search(Examples(features[few], labels[few]), Examples(features[200:], labels[200:]))
    assert found.sweep[0].fit.classes.tolist() == [0, 1, 3] and found.fit.classes.tolist() == [0, 1, 2, 3]
    assert (found.predict(Examples(features, labels)) == 2).any()


def test_the_same_seed_gives_the_same_probe() -> None:
    features, labels = correlated()
    first, again, other = (search(Examples(features, labels), seed=seed) for seed in (3, 3, 4))
    assert (first.fit.weight == again.fit.weight).all() and first.record() == again.record()
    assert [tried.accuracy for tried in other.sweep] != [tried.accuracy for tried in first.sweep]


def test_a_fifth_of_each_class_is_held_back() -> None:
    labels = np.array([0] * 50 + [1] * 10 + [2] * 2 + [7])
    fitted, held = sweep._parted(Examples(np.zeros((63, 1)), labels), seed=0)
    assert np.bincount(held.numbers).tolist() == [10, 2, 1] and np.bincount(fitted.numbers)[7] == 1
    assert held.rows is not None and fitted.rows is not None
    assert sorted([*held.rows, *fitted.rows]) == list(range(63))


def test_constant_features_score_chance() -> None:
    labels = np.array([0] * 30 + [1] * 20)
    found = search(Examples(np.ones((50, 5), np.float32), labels))
    assert set(found.predict(Examples(np.ones((9, 5), np.float32), np.zeros(9, np.int64)))) == {0}


def test_many_classes_are_fitted_a_few_penalties_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = correlated(400, 12, 5)
    together = search(Examples(features, labels))
    monkeypatch.setattr(sweep, "WIDE", 10)
    by_two = search(Examples(features, labels))
    for one, other in zip(together.sweep, by_two.sweep, strict=True):
        assert one.fit.value == pytest.approx(other.fit.value, rel=1e-6) and one.accuracy == other.accuracy


def test_scikit_learn_as_the_solver() -> None:
    features, labels = correlated(300, 12, 3, noise=2.0)
    theirs, ours = (search(Examples(features, labels), solver=solver) for solver in ("sklearn", "exact"))
    assert theirs.record()["solver"] == "sklearn" and theirs.record()["converged"]
    assert theirs.fit.penalty == pytest.approx(ours.fit.penalty)
    for one, other in zip(theirs.sweep, ours.sweep, strict=True):
        assert one.accuracy == pytest.approx(other.accuracy, abs=2)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"labels": np.full(20, 2)}, "birds: a probe needs two classes; all 20 labels are 2"),
        (
            {"labels": np.arange(20) % 4 - 1},
            "birds: the label -1 of sample 'k0' is out of range: class numbers are 0 to 2",
        ),
        ({"labels": np.arange(20) % 4}, "birds: the label 3 of sample 'k3' is out of range: class numbers are 0 to 2"),
        ({"labels": np.linspace(0, 1, 20)}, "birds: labels are class numbers; got float64"),
        ({"labels": np.arange(19) % 3}, "birds: a probe needs features"),
        ({"features": np.where(np.arange(40).reshape(20, 2) == 25, np.nan, 1)}, "birds: the features of sample 'k12'"),
        ({"features": np.zeros((20, 2, 2))}, "birds: a probe needs features"),
    ],
)
def test_what_cannot_be_probed_is_named(change: dict[str, Any], message: str) -> None:
    keys = [f"k{index}" for index in range(20)]
    given = {"features": np.ones((20, 2)), "labels": np.arange(20) % 3} | change
    with pytest.raises(VltkError, match=message):
        search(Examples(given["features"], given["labels"], keys, name="birds"), classes=3)


def test_nothing_can_be_held_back_of_single_samples() -> None:
    with pytest.raises(VltkError, match="no class has two samples"):
        search(Examples(np.eye(4), np.arange(4)))


def test_broken_features_of_the_test_are_named() -> None:
    features, labels = correlated(60)
    found = search(Examples(features, labels), penalties=[1.0])
    features[31, 2] = np.inf
    with pytest.raises(VltkError, match="cats: the features of sample number 31 are not finite"):
        found.predict(Examples(features, labels, name="cats"))
