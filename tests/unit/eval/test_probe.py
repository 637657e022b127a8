"""The solver against scikit-learn; the choice of the penalty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from vltk.eval import probe


def problem(samples: int = 400, width: int = 12, classes: int = 4) -> tuple[probe.Floats, probe.Ints]:
    """Correlated features with an offset, as a network's are, and noisy labels."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(samples, width))
    logits = hidden @ rng.normal(size=(width, classes)) + rng.gumbel(size=(samples, classes))
    return (hidden @ rng.normal(size=(width, width)) + 3).astype(np.float32), logits.argmax(1)


@pytest.mark.parametrize("penalty", [100.0, 1.0, 0.01])
def test_the_fit_is_scikit_learns(penalty: float) -> None:
    features, labels = problem()
    x = probe.Scale.of(torch.from_numpy(features).double())(torch.from_numpy(features).double())
    ours = probe.fit(x, torch.from_numpy(labels), 4, penalty)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000).fit(x.numpy(), labels)
    assert ours.converged and ours.iterations < 200
    np.testing.assert_allclose(ours.weight.T - ours.weight.T.mean(0), theirs.coef_ - theirs.coef_.mean(0), atol=1e-4)
    assert (ours.predict(x).numpy() == theirs.predict(x.numpy())).all()


def test_a_start_changes_the_way_and_not_the_end() -> None:
    features, labels = problem()
    x = probe.Scale.of(torch.from_numpy(features).double())(torch.from_numpy(features).double())
    y = torch.from_numpy(labels)
    near = probe.fit(x, y, 4, 1.0, start=probe.fit(x, y, 4, 2.0))
    torch.testing.assert_close(near.weight, probe.fit(x, y, 4, 1.0).weight, atol=1e-5, rtol=0)


def test_too_few_iterations_are_recorded() -> None:
    features, labels = problem()
    record = probe.search(features, labels, max_iterations=1).record()
    assert record["converged"] is False and record["iterations"] == 1


def test_search_takes_the_penalty_that_generalises() -> None:
    features, labels = problem(samples=60, width=40, classes=3)
    found = probe.search(features, labels, seed=1)
    assert found.held_back[found.fit.penalty] == max(found.held_back.values())
    assert found.fit.penalty > 1e-3 and found.record()["converged"]
    assert found.fit.weight.shape == (40, 3)


def test_search_is_the_same_for_the_same_seed_and_separates_what_is_separable() -> None:
    labels = np.arange(90) % 3
    features = np.eye(3, dtype=np.float32)[labels] + np.random.default_rng(0).normal(0, 0.05, (90, 3)).astype(
        np.float32
    )
    found, again = probe.search(features, labels), probe.search(features, labels)
    assert (found.predict(features) == labels).all()
    assert torch.equal(found.fit.weight, again.fit.weight)


def test_a_constant_feature_is_left_out() -> None:
    features, labels = problem()
    wider = np.pad(features, ((0, 0), (0, 1)), constant_values=2.5)
    found = probe.search(wider, labels)
    assert found.fit.weight[-1].abs().max() == 0
    assert (found.predict(wider) == probe.search(features, labels).predict(features)).all()
