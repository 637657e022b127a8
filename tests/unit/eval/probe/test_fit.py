"""The minimum against scikit-learn's, on problems of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.eval.probe.problems import CPU, correlated, fitted, objective, oracle, spread
from vltk.eval.probe import rows as probe_rows
from vltk.eval.probe import scikit
from vltk.eval.probe.examples import Examples
from vltk.eval.probe.fit import Fit, fit
from vltk.eval.probe.loss import Objective
from vltk.eval.probe.rows import Rows, mean


@pytest.mark.parametrize("samples,width,classes", [(400, 12, 4), (300, 12, 2), (60, 100, 3), (500, 24, 30)], ids=str)
@pytest.mark.parametrize("penalty", [1e4, 100.0, 1.0, 0.01])
def test_the_fit_is_scikit_learns(samples: int, width: int, classes: int, penalty: float) -> None:
    """Two classes share one vector there; 60 samples of 100 features are separable."""
    features, labels = correlated(samples, width, classes)
    (ours,) = fitted(features, labels, penalty)
    theirs = oracle(features, labels, penalty)
    value = objective(theirs, features, labels, penalty)
    assert ours.converged and ours.value == pytest.approx(value, rel=5e-5)
    logits = np.sort(theirs.decision_function(features).reshape(len(labels), -1), 1)
    sure = np.abs(logits[:, 0]) > 1e-3 if classes == 2 else logits[:, -1] - logits[:, -2] > 1e-3
    assert (ours.predict(Examples(features, labels)) == theirs.predict(features))[sure].all() and sure.mean() > 0.98


def test_many_penalties_at_once_are_each_alone() -> None:
    features, labels = correlated(classes=5)
    penalties = [1e6, 1.0, 1e-6]
    together = fitted(features, labels, *penalties)
    for penalty, one in zip(penalties, together, strict=True):
        (alone,) = fitted(features, labels, penalty)
        assert one.penalty == penalty and one.value == pytest.approx(alone.value, rel=1e-6)
        assert one.converged and alone.converged


def test_what_can_be_separated_is_fitted_to_the_end_at_every_penalty() -> None:
    """Losses of 1e-6 and less, which fp32 loses where they are taken as 1 - p."""
    labels = np.arange(200) % 4
    features = (np.eye(4)[labels] + np.random.default_rng(0).normal(0, 0.05, (200, 4))).astype(np.float32)
    for one in fitted(features, labels, 1.0, 1e-2, 1e-4, 1e-6):
        value = objective(oracle(features, labels, one.penalty), features, labels, one.penalty)
        assert one.converged and one.value <= value * (1 + 1e-4) + 1e-8
        assert (one.predict(Examples(features, labels)) == labels).all()


def test_the_noise_of_fp32_does_not_stall_a_search() -> None:
    """Losses of such features are not told apart near the minimum: a line search that insists asks to its end."""
    features, labels = spread()
    for one in fitted(features, labels, 1.0, 1e-2, 1e-4, 1e-6):
        value = objective(oracle(features, labels, one.penalty), features, labels, one.penalty)
        assert one.converged and one.evaluations is not None and one.evaluations <= 2 * one.iterations + 2
        assert one.value == pytest.approx(value, rel=1e-5)


def test_constant_features_leave_the_shares_of_the_classes() -> None:
    labels = np.array([0] * 50 + [1] * 30 + [2] * 20)
    (one,) = fitted(np.full((100, 6), 2.5, np.float32), labels, 1.0)
    shares = np.array([0.5, 0.3, 0.2])
    assert one.converged and one.value == pytest.approx(-float(shares @ np.log(shares)), abs=1e-6)
    assert not one.weight.any()
    assert set(one.predict(Examples(np.full((3, 6), 2.5, np.float32), labels[:3]))) == {0}


def test_one_constant_feature_changes_nothing() -> None:
    features, labels = correlated()
    (wide,) = fitted(np.pad(features, ((0, 0), (0, 1)), constant_values=2.5), labels, 1.0)
    (one,) = fitted(features, labels, 1.0)
    assert wide.weight[:, -1].abs().max() < 1e-6 and wide.value == pytest.approx(one.value, rel=1e-6)


def test_class_numbers_may_have_gaps() -> None:
    features, labels = correlated(classes=3)
    names = np.array([2, 5, 40])
    (gaps,), (plain,) = fitted(features, names[labels], 1.0), fitted(features, labels, 1.0)
    assert gaps.classes.tolist() == [2, 5, 40] and torch.equal(gaps.weight, plain.weight)
    examples = Examples(features, labels)
    assert (gaps.predict(examples) == names[plain.predict(examples)]).all()


@pytest.mark.parametrize("classes", [4, 60])
def test_the_objective_does_not_depend_on_the_size_of_a_block(classes: int) -> None:
    features, labels = correlated(3000, 64, classes)
    examples = Examples(features, labels)
    centre, weight = mean(examples, CPU), torch.randn(1, classes, 64, dtype=torch.float64)
    bias = torch.randn(1, classes, dtype=torch.float64)
    found = [
        Objective([Rows(examples, centre, block)], np.unique(labels)).cross_entropy(weight, bias)
        for block in (64, 256, 1000, 3000)
    ]
    for value, to_weight, to_bias in found[1:]:
        assert float(value) == pytest.approx(float(found[0][0]), rel=1e-9)
        torch.testing.assert_close(to_weight, found[0][1], rtol=0, atol=1e-6)
        torch.testing.assert_close(to_bias, found[0][2], rtol=0, atol=1e-7)


def test_the_minimum_does_not_depend_on_the_size_of_a_block() -> None:
    features, labels = correlated(1000)
    first, *others = [fitted(features, labels, 1.0, block=block)[0] for block in (16, 300, 1000)]
    for other in others:
        assert other.value == pytest.approx(first.value, rel=1e-7)


def test_rows_that_do_not_fit_are_read_at_each_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From a memory-mapped fp16 file, of which some rows are meant."""
    features, labels = correlated()
    stored = np.lib.format.open_memmap(f"{tmp_path}/features.npy", "w+", np.float16, features.shape)
    stored[:] = features
    examples = Examples(np.load(f"{tmp_path}/features.npy", mmap_mode="r"), labels).part(np.arange(0, 400, 2))
    kept = Rows(examples, mean(examples, CPU), 64)
    monkeypatch.setattr(probe_rows, "_room", lambda device: 0)
    streamed = Rows(examples, mean(examples, CPU), 64)
    assert kept._kept is not None and streamed._kept is None
    assert torch.equal(fit([kept], [1.0], [None])[0].weight, fit([streamed], [1.0], [None])[0].weight)
    half = Examples(features[::2].astype(np.float16).astype(np.float32), labels[::2])
    assert (
        fit([streamed], [1.0], [None])[0].predict(half)
        == oracle(half.features, half.labels, 1.0).predict(half.features)
    ).all()


def test_parts_are_as_one() -> None:
    features, labels = correlated()
    examples = Examples(features, labels)
    centre = mean(examples, CPU)
    parts = [Rows(examples.part(np.arange(130)), centre), Rows(examples.part(np.arange(130, 400)), centre)]
    (one,), (whole,) = fit(parts, [1.0], [None]), fitted(features, labels, 1.0)
    assert one.value == pytest.approx(whole.value, rel=1e-7)


def test_a_start_changes_the_way_and_not_the_end() -> None:
    """Also from a fit that does not know one of the classes."""
    features, labels = correlated()
    examples = Examples(features, labels)
    rows = Rows(examples, mean(examples, CPU))
    (cold,), (near,) = fit([rows], [1.0], [None]), fit([rows], [1.1], [None])
    fewer = Rows(examples.part(np.flatnonzero(labels != 2)), rows.centre)
    for start in (near, *fit([fewer], [1.0], [None])):
        (warm,) = fit([rows], [1.0], [start])
        assert warm.converged and warm.value == pytest.approx(cold.value, rel=1e-6)
    (warm,) = fit([rows], [1.0], [near])
    assert warm.iterations < cold.iterations


def test_too_few_iterations_are_recorded_and_iterations_are_watched() -> None:
    features, labels = correlated()
    seen: list[tuple[float, int, float]] = []
    (one,) = fitted(features, labels, 1.0, max_iterations=3, watch=lambda *what: seen.append(what))
    assert not one.converged and one.iterations == 3 and one.evaluations is not None and one.evaluations >= 4
    assert [step for _, step, _ in seen] == [1, 2, 3] and seen[-1][2] == one.value < seen[0][2]


@pytest.mark.parametrize("classes", [2, 5])
def test_the_fit_by_scikit_learn_is_scikit_learns(classes: int) -> None:
    features, labels = correlated(classes=classes)
    examples = Examples(features, labels)
    rows = Rows(examples, mean(examples, CPU))
    (one,), (ours,) = scikit.fit([rows], [1.0], [None]), fit([rows], [1.0], [None])
    value = objective(oracle(features, labels, 1.0), features, labels, 1.0)
    assert one.converged and one.evaluations is None and 0 < one.gradient < 1e-3
    assert value * (1 - 1e-6) <= one.value <= value * (1 + 1e-3)
    assert np.mean(one.predict(examples) == ours.predict(examples)) > 0.99
    (stopped,) = scikit.fit([rows], [1.0], [None], max_iterations=2)
    assert not stopped.converged and stopped.iterations == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same_minimum() -> None:
    features, labels = correlated(2000, 64, 10)
    examples = Examples(features, labels)

    def at(device: str) -> Fit:
        return fit([Rows(examples, mean(examples, torch.device(device)))], [1.0], [None])[0]

    assert at("cuda").value == pytest.approx(at("cpu").value, rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_a_file_that_cannot_be_written_is_read_without_a_warning(tmp_path: Path) -> None:
    features, labels = correlated()
    np.save(tmp_path / "features.npy", features)
    (one,) = fitted(np.load(tmp_path / "features.npy", mmap_mode="r"), labels, 1.0)
    assert torch.equal(one.weight, fitted(features, labels, 1.0)[0].weight)
