"""Each protocol on encoders whose score is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vltk.errors import VltkError
from vltk.eval.features import Subject
from vltk.eval.protocols.linear_probe import LinearProbe
from vltk.eval.protocols.retrieval import Retrieval
from vltk.eval.results import Score


def by_metric(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def test_retrieval_of_an_encoder_that_knows_everything(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [[f"{index} a", f"{index}"] for index in range(40)])
    scores = by_metric(Retrieval(data="pairs/dev", batch_size=16)(Subject(trained)))
    directions, names = ("image_to_text", "text_to_image"), ("R@1", "R@5", "R@10", "median rank")
    assert list(scores) == [*(f"{way} {name}" for way in directions for name in names), "mean recall"]
    assert (scores["mean recall"].value, scores["mean recall"].n) == (100, 120)
    assert {scores[name].value for name in scores if "R@" in name} == {100}
    assert scores["image_to_text R@1"].n == 40 and scores["text_to_image R@1"].n == 80
    assert scores["text_to_image R@10"].chance == pytest.approx(25)
    assert scores["image_to_text R@1"].chance == pytest.approx(2.5)
    assert scores["mean recall"].chance == pytest.approx(np.mean([s.chance for n, s in scores.items() if "R@" in n]))
    assert scores["text_to_image median rank"].value == 1 and scores["image_to_text R@1"].split == "dev"


def test_retrieval_of_a_collapsed_encoder_is_nothing(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [[f"{index}"] * 5 for index in range(40)])
    trained.model.images[:] = trained.model.images[0].clone()
    trained.model.texts[:] = trained.model.images[0].clone()
    scores = by_metric(Retrieval(data="pairs/dev")(Subject(trained)))
    assert {score.value for name, score in scores.items() if "R@" in name} == {0}


def test_retrieval_with_a_limit_and_of_one_sample(write_pairs: Callable[..., None], trained: Any) -> None:
    write_pairs("pairs/dev", [[f"{index}"] for index in range(30)])
    assert by_metric(Retrieval(data="pairs/dev", limit=12)(Subject(trained)))["text_to_image R@5"].n == 12
    with pytest.raises(VltkError, match="retrieval needs 2 samples or more; pairs/dev gave 1"):
        Retrieval(data="pairs/dev", limit=1)(Subject(trained))


def labelled(write_pairs: Callable[..., None], name: str, labels: list[str]) -> None:
    write_pairs(name, [["1"] for _ in labels], [{"colour": label} for label in labels])


def test_probe_of_features_that_hold_the_label(write_pairs: Callable[..., None], trained: Any) -> None:
    labels = ["red", "green", "blue"] * 20
    labelled(write_pairs, "balls/train", labels)
    labelled(write_pairs, "balls/test", labels[:30])
    trained.model.images[:60] = torch.eye(16)[torch.arange(60) % 3] + 0.01 * torch.randn(60, 16)
    probe = LinearProbe(train="balls/train", test="balls/test", label="colour", random_weights=True)
    ours, classes, baseline, _ = probe(Subject(trained))
    assert (ours.metric, ours.value, ours.n, ours.split) == ("accuracy", 100, 30, "test")
    assert ours.chance == pytest.approx(100 / 3)
    assert ours.detail["converged"] and ours.detail["train_n"] == 60 and ours.detail["classes"] == 3
    assert (classes.metric, classes.value) == ("mean per-class accuracy", 100)
    assert baseline.metric == "accuracy at random weights" and baseline.n == 30
    assert [score.metric for score in probe(Subject(trained))] == probe.metrics


def test_the_penalty_may_be_chosen_on_a_validation_set_and_by_scikit_learn(
    write_pairs: Callable[..., None], trained: Any
) -> None:
    labels = ["red", "green", "blue"] * 20
    for name, count in (("train", 60), ("val", 12), ("test", 30)):
        labelled(write_pairs, f"balls/{name}", labels[:count])
    trained.model.images[:60] = torch.eye(16)[torch.arange(60) % 3] + 0.01 * torch.randn(60, 16)
    names = {"train": "balls/train", "test": "balls/test", "label": "colour", "validation": "balls/val"}
    probe = LinearProbe(**names, solver="sklearn")
    assert probe.data_sets == ["balls/train", "balls/test", "balls/val"]
    score, _ = probe(Subject(trained))
    assert score.value == 100 and score.detail["validation_n"] == 12 and score.detail["solver"] == "sklearn"
    assert len(score.detail["sweep"]) >= 7 and {"penalty", "accuracy", "converged"} <= set(score.detail["sweep"][0])
    json.dumps(score.detail, allow_nan=False)


def test_probe_of_constant_features_is_the_majority(write_pairs: Callable[..., None], trained: Any) -> None:
    labelled(write_pairs, "balls/train", ["red"] * 30 + ["blue"] * 20)
    labelled(write_pairs, "balls/test", ["red"] * 7 + ["blue"] * 3)
    trained.model.images[:] = 1.0
    score, _ = LinearProbe(train="balls/train", test="balls/test", label="colour")(Subject(trained))
    assert score.value == score.chance == pytest.approx(70)


def test_a_label_that_training_never_showed_counts_as_wrong(write_pairs: Callable[..., None], trained: Any) -> None:
    labelled(write_pairs, "balls/train", ["red", "blue"] * 20)
    labelled(write_pairs, "balls/heldout", ["red", "blue"] * 4 + ["green"] * 2)
    trained.model.images[:40] = torch.eye(16)[torch.arange(40) % 2]
    score, _ = LinearProbe(train="balls/train", test="balls/heldout", label="colour")(Subject(trained))
    assert (score.value, score.n, score.split) == (80, 10, "heldout")


def test_a_label_with_one_value_cannot_be_probed(write_pairs: Callable[..., None], trained: Any) -> None:
    labelled(write_pairs, "balls/train", ["red"] * 8)
    with pytest.raises(VltkError, match="balls/train: 'colour' has one value only"):
        LinearProbe(train="balls/train", test="balls/train", label="colour")(Subject(trained))
