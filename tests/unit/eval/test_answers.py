"""Intervals and comparisons by the name of a metric, from what a model said of each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vltk.errors import VltkError
from vltk.eval.answers import Answers, compare, interval, replicates, seed_of
from vltk.eval.metrics import classification, correlation
from vltk.eval.statistics.intervals import wilson
from vltk.eval.statistics.paired import mcnemar

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 400)
BINARY = Answers("test", {"labels": LABELS, "predicted": np.where(RNG.random(400) < 0.8, LABELS, 1 - LABELS)})
RANKED = Answers("both", {"ranks": RNG.geometric(0.2, 300) - 1, "clusters": np.arange(300) // 5})


@pytest.mark.parametrize(
    ("metric", "of"),
    [
        ("mean per-class accuracy", classification.mean_per_class),
        ("F1", classification.f1),
        ("Matthews correlation", classification.matthews),
        ("Pearson correlation", correlation.pearson),
        ("Spearman correlation at random weights", correlation.spearman),
    ],
)
def test_the_value_lies_in_its_interval(metric: str, of: Any) -> None:
    value = of(BINARY["predicted"], BINARY["labels"])
    found = interval(metric, value, 400, BINARY)
    assert found is not None and found.method == "stratified bootstrap"
    assert value - 15 < found.low < value < found.high < value + 15


def test_an_accuracy_needs_no_answers() -> None:
    assert interval("matched accuracy", 75.0, 400, None) == wilson(300, 400)
    assert interval("zero-shot accuracy", 75.0, 400, None) == wilson(300, 400)
    assert interval("F1", 75.0, 400, None) is None and interval("loss", 1.0, 400, BINARY) is None


def test_captions_of_an_image_are_drawn_together() -> None:
    """Equal captions of an image: an interval as of 60 images, and not of 300 queries."""
    images = Answers("way", {"ranks": np.repeat(RNG.integers(0, 2, 60), 5), "clusters": np.arange(300) // 5})
    alone = Answers("way", {"ranks": images["ranks"]})
    value = 100 * float((images["ranks"] < 1).mean())
    together, apart = (interval("text_to_image R@1", value, 300, one) for one in (images, alone))
    assert together is not None and apart is not None and together.method == "cluster bootstrap"
    assert together.high - together.low > 2 * (apart.high - apart.low)


@pytest.mark.parametrize("hit", [False, True])
def test_a_recall_of_nothing_or_all_is_no_surer_than_its_images(hit: bool) -> None:
    """No resample of equal values differs: the bootstrap knows nothing of them."""
    missed = Answers("way", {"ranks": np.full(300, 0 if hit else 50), "clusters": np.arange(300) // 5})
    both = Answers("both", {**missed.columns, "ways": np.arange(300) % 2})
    value = 100.0 * hit
    for metric, answers in (("text_to_image R@1", missed), ("re-ranked mean recall", both)):
        assert interval(metric, value, 300, answers) == wilson(60 * hit, 60)
    questions = Answers("val", {"values": np.full(300, value), "clusters": np.arange(300) // 5})
    assert interval("VQA accuracy at random weights", value, 300, questions) == wilson(60 * hit, 60)
    folds = Answers("test", {"values": np.full(300, value), "labels": np.arange(300) % 3})
    assert interval("accuracy", value, 300, folds) == wilson(300 * hit, 300)


def test_one_class_for_all_has_an_interval() -> None:
    labels = np.arange(60) % 10
    constant = Answers("zero-shot", {"predicted": np.zeros(60, int), "labels": labels})
    assert interval("zero-shot mean per-class accuracy", 10.0, 60, constant) == wilson(6, 60)


def test_a_query_an_image_is_a_share() -> None:
    images = Answers("image_to_text", {"ranks": np.array([0, 3, 0, 9]), "clusters": np.arange(4)})
    assert interval("image_to_text R@1", 50.0, 4, images) == wilson(2, 4)
    assert interval("zero-shot R@5", 75.0, 4, Answers("zero-shot", {"ranks": images["ranks"]})) == wilson(3, 4)


def test_the_part_of_a_kind_of_question() -> None:
    kinds = np.array(["number", "other", "number", "yes/no"])
    every = Answers("val", {"values": np.array([0.0, 100, 30, 60]), "clusters": np.arange(4), "kinds": kinds})
    own = every.part("VQA accuracy, number")
    assert own.name == "val, number" and own["values"].tolist() == [0, 30] and len(own) == 2
    assert every.part("VQA accuracy") is every
    found = interval("VQA accuracy, number at random weights", 15.0, 2, own)
    assert found is not None and (found.low, found.high) == (0, 30)


def test_the_median_of_ranks() -> None:
    value = float(np.median(RANKED["ranks"])) + 1
    found = replicates("image_to_text median rank", RANKED)
    assert found is not None and found.min() >= 1 and abs(np.median(found) - value) <= 1
    clear = Answers("way", {"ranks": np.full(20, 6)})
    assert replicates("median rank", clear) is not None and (replicates("median rank", clear) == 7).all()


def test_a_paired_comparison() -> None:
    better = Answers("test", {"labels": LABELS, "predicted": np.where(RNG.random(400) < 0.9, LABELS, 1 - LABELS)})
    values = [classification.accuracy(one["predicted"], LABELS) for one in (BINARY, better)]
    found = compare("accuracy", BINARY, better, values[1] - values[0])
    assert found is not None and found.interval.low < found.value < found.interval.high
    assert found.p == mcnemar(*(one["predicted"] == LABELS for one in (BINARY, better)))
    same = compare("F1", BINARY, BINARY, 0.0)
    assert same is not None and (same.value, same.interval.low, same.interval.high, same.p) == (0, 0, 0, 1)
    other = Answers("test", {"labels": 1 - LABELS, "predicted": LABELS})
    with pytest.raises(VltkError, match="same samples; 'test' differs in labels"):
        compare("accuracy", BINARY, other, 0.0)


def test_answers_over_folds() -> None:
    """Shares of ten probes that are right: as wide an interval as one probe's, and no test of right against wrong."""
    labels = np.arange(300) % 3
    first = Answers("test", {"labels": labels, "values": 10.0 * RNG.binomial(10, 0.6 + 0.1 * labels)})
    value = float(first["values"].mean())
    found = interval("accuracy", value, 300, first)
    assert found is not None and found.method == "cluster bootstrap" and found != wilson(round(3 * value), 300)
    assert value - 3 < found.low < value < found.high < value + 3
    by_class = classification.mean_by_class(first["values"], labels)
    assert by_class == pytest.approx(np.mean([first["values"][labels == one].mean() for one in range(3)]))
    spread = interval("mean per-class accuracy", by_class, 300, first)
    assert spread is not None and spread.low < by_class < spread.high and spread.method == "stratified bootstrap"
    second = Answers("test", {"labels": labels, "values": np.minimum(first["values"] + 10, 100)})
    gained = float(second["values"].mean()) - value
    better = compare("accuracy", first, second, gained)
    assert better is not None and better.interval.low < gained < better.interval.high and better.p < 0.01


def test_tasks_are_resampled_apart_and_runs_together() -> None:
    assert seed_of("mnist", 0) == seed_of("mnist", 0) != seed_of("cifar10", 0)
    first, second = (replicates("R@1", RANKED, seed_of(task, 0)) for task in ("mnist", "cifar10"))
    assert first is not None and second is not None and abs(np.corrcoef(first, second)[0, 1]) < 0.1
