"""What the head of a task answers, on official files: soft scores, labels out of range, labels that are no numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.official import vqav2
from tests.unit.eval.finetuning.conftest import Make
from vltk.errors import VltkError
from vltk.eval.finetuning.target import Classification, Regression, Vocabulary, target_of
from vltk.eval.metrics import vqa

VQA = "official/vqav2/train?vocabulary=train&least=1"


@pytest.fixture
def questions(root: Path, subject: Make) -> Any:
    vqav2.make(root / "data" / "eval" / "vqav2")
    return subject().samples(VQA)


def test_soft_scores_are_those_of_the_official_evaluation(questions: Any) -> None:
    """Nine of ten say yes and one no: 1 and (9 min(1, 1/3) + 0) / 10."""
    target = target_of(questions, "class")
    assert isinstance(target, Vocabulary) and target.known == ["2", "yes"]
    first, second = (dict(target.facts(questions, index)["answers"]) for index in (0, 1))
    assert first == {1: 1.0}  # no is not in the vocabulary
    assert second == {0: 1.0}  # six say 2, three two and one Two.: all are 2
    target.numbers["no"] = 2
    assert dict(target.facts(questions, 0)["answers"])[2] == pytest.approx(0.3)


def test_vqa_metrics_are_scores_of_the_chosen_answers(questions: Any) -> None:
    target = target_of(questions, "class")
    outputs = np.zeros((6, 2), np.float32)
    outputs[:, 1] = 1  # yes, always
    found = target.metrics(outputs, questions)
    assert found["VQA accuracy"][0] == 50 and found["VQA accuracy, yes/no"][0] == 100
    assert found["VQA accuracy, number"][0] == 0
    people = [["yes"] * 9 + ["no"], ["2"] * 10] * 3
    assert found["VQA accuracy"][0] == pytest.approx(vqa.accuracy(["yes"] * 6, people))
    columns = target.answers(outputs, questions, "val").columns
    assert columns["clusters"].tolist() == [9, 9, 25, 25, 30, 30] and columns["values"].mean() == 50


def test_right_outputs_score_whole(questions: Any) -> None:
    target = target_of(questions, "class")
    outputs = np.array([[0, 1], [1, 0]] * 3, np.float32)
    assert target.metrics(outputs, questions)["VQA accuracy"] == (100, 50)


class Labelled:
    """Samples of known labels."""

    data = "mine/train"

    def __init__(self, labels: list[Any]) -> None:
        self.labels, self.positions = labels, np.arange(len(labels))
        self.source = SimpleNamespace(
            label=lambda position, name: labels[position], read_texts=lambda position: SimpleNamespace(facts={})
        )

    def __len__(self) -> int:
        return len(self.labels)


def test_the_kind_of_a_task_is_that_of_its_labels() -> None:
    classes: Any = target_of(Labelled(["0", "2", "1"]), "kind")  # type: ignore[arg-type]
    assert isinstance(classes, Classification) and classes.outputs == 3
    scores: Any = target_of(Labelled([0.5, 4.0]), "score")  # type: ignore[arg-type]
    assert isinstance(scores, Regression) and scores.outputs == 1
    with pytest.raises(VltkError, match="mine/train: the label 'kind' of sample number 0 is 'cat'"):
        target_of(Labelled(["cat", "dog"]), "kind")  # type: ignore[arg-type]


def test_labels_out_of_range_are_named() -> None:
    target = target_of(Labelled([0, 1]), "class")  # type: ignore[arg-type]
    wrong: Any = Labelled([0, 1, 2])
    with pytest.raises(VltkError, match="the label 2 of sample number 2 is out of range: training has 2 classes"):
        target.metrics(np.zeros((3, 2), np.float32), wrong)


def test_regression_is_scored_on_the_scale_of_its_labels() -> None:
    target, samples = Regression("score"), Labelled([0.0, 2.5, 5.0])
    outputs = np.array([[0.0], [0.5], [1.0]], np.float32)
    found = target.metrics(outputs, samples)  # type: ignore[arg-type]
    assert found["Pearson correlation"][0] == pytest.approx(100) and found["loss"][0] == 0
    assert target.answers(outputs, samples, "dev").columns["predicted"].tolist() == [0, 2.5, 5]  # type: ignore[arg-type]
