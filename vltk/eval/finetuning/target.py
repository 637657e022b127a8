"""What the head of a task answers: a class, a score, or an answer of a vocabulary; and how its answers are measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from vltk.errors import VltkError
from vltk.eval.answers import Answers
from vltk.eval.datasets._vqa_answers import normalise
from vltk.eval.metrics import vqa
from vltk.eval.metrics.classification import accuracy, f1, matthews, mean_per_class
from vltk.eval.metrics.correlation import pearson, roc_auc, spearman, tied

if TYPE_CHECKING:
    from vltk.eval.features import Samples

Floats = NDArray[np.float32]
Metrics = dict[str, tuple[float, float | None]]  # value, what guessing gives
SCALE = 5.0  # the highest score of STS-B
ANSWERS, IMAGE, KIND = "answers", "image_id", "answer_type"  # facts of an open question


class Target(Protocol):
    """`outputs`: numbers that the head gives; `objective`: by name, with its options, what trains it."""

    outputs: int
    objective: Mapping[str, Mapping[str, Any]]

    def facts(self, samples: Samples, index: int) -> dict[str, Any]:
        """What the objective's view reads of a sample."""

    def metrics(self, outputs: Floats, samples: Samples) -> Metrics:
        """Of what the head gave for all samples (N, outputs), every metric by its name."""

    def answers(self, outputs: Floats, samples: Samples, name: str) -> Answers:
        """Of which every metric can be computed again."""


def target_of(train: Samples, label: str) -> Target:
    """What the samples ask for, by their first one. Raises VltkError where they have no label of that name."""
    if ANSWERS in train.source.read_texts(int(train.positions[0])).facts:
        return Vocabulary(train)
    first = _number(train, 0, label)
    return Regression(label) if isinstance(first, float) else Classification(train, label)


class Classification:
    """Classes by their numbers. F1 and ROC AUC are those of class 1 of two."""

    def __init__(self, train: Samples, label: str) -> None:
        self.label = label
        numbers = [int(_number(train, index, label)) for index in range(len(train))]
        if len(set(numbers)) < 2:
            raise VltkError(f"{train.data}: {label!r} has one value only in {len(train)} samples: {numbers[0]}")
        names = list(getattr(train.source, "classes", None) or range(max(numbers) + 1))
        self.outputs, self.common = len(names), Counter(numbers).most_common(1)[0][0]
        self.objective: Mapping[str, Mapping[str, Any]] = {"classify": {}}

    def facts(self, samples: Samples, index: int) -> dict[str, Any]:
        return {"label": int(_number(samples, index, self.label))}

    def metrics(self, outputs: Floats, samples: Samples) -> Metrics:
        labels, predicted = self._labels(samples), outputs.argmax(1)
        found: Metrics = {
            "accuracy": (accuracy(predicted, labels), accuracy(np.full_like(labels, self.common), labels)),
            "mean per-class accuracy": (mean_per_class(predicted, labels), 100 / len(np.unique(labels))),
            "Matthews correlation": (matthews(predicted, labels), 0.0),
            "loss": (float(F.cross_entropy(torch.from_numpy(outputs), torch.from_numpy(labels))), None),
        }
        if self.outputs == 2:
            found["F1"] = (f1(predicted, labels), f1(np.ones_like(labels), labels))
            found["ROC AUC"] = (roc_auc(_scores(outputs), labels), 50.0)
        return found

    def answers(self, outputs: Floats, samples: Samples, name: str) -> Answers:
        labels = self._labels(samples)
        columns = {"predicted": outputs.argmax(1), "labels": labels, "margins": _margins(outputs, labels)}
        scores = {"scores": _scores(outputs)} if self.outputs == 2 else {}
        return Answers(name, columns | scores)

    def _labels(self, samples: Samples) -> NDArray[np.int64]:
        labels = np.array([self.facts(samples, index)["label"] for index in range(len(samples))], np.int64)
        wrong = np.flatnonzero((labels < 0) | (labels >= self.outputs))
        if len(wrong):
            raise VltkError(
                f"{samples.data}: the label {labels[wrong[0]]} of sample number {wrong[0]} is out of range: training "
                f"has {self.outputs} classes, from 0"
            )
        return labels


class Regression:
    """Scores from 0 to `SCALE`; the head learns them from 0 to 1."""

    outputs = 1

    def __init__(self, label: str) -> None:
        self.label = label
        self.objective: Mapping[str, Mapping[str, Any]] = {"regress": {"scale": SCALE}}

    def facts(self, samples: Samples, index: int) -> dict[str, Any]:
        return {"label": float(_number(samples, index, self.label))}

    def metrics(self, outputs: Floats, samples: Samples) -> Metrics:
        labels, predicted = self._labels(samples), tied(outputs[:, 0])
        return {
            "Pearson correlation": (pearson(predicted, labels), 0.0),
            "Spearman correlation": (spearman(predicted, labels), 0.0),
            "loss": (float(np.mean((predicted - labels / SCALE) ** 2)), None),
        }

    def answers(self, outputs: Floats, samples: Samples, name: str) -> Answers:
        return Answers(name, {"predicted": tied(outputs[:, 0]) * SCALE, "labels": self._labels(samples)})

    def _labels(self, samples: Samples) -> NDArray[np.float64]:
        return np.array([self.facts(samples, index)["label"] for index in range(len(samples))], np.float64)


class Vocabulary:
    """The answers of the training data's vocabulary; each is as right as the annotators of a question say."""

    def __init__(self, train: Samples) -> None:
        self.train, self.known = train, list(train.source.classes)  # type: ignore[attr-defined]
        self.numbers = {answer: number for number, answer in enumerate(self.known)}
        self.outputs = len(self.known)
        self.objective: Mapping[str, Mapping[str, Any]] = {"vqa": {}}

    def facts(self, samples: Samples, index: int) -> dict[str, Any]:
        """`answers`: the number and the score of each answer of the vocabulary that an annotator gave."""
        people = self._people(samples, index)
        given = [answer for answer in dict.fromkeys(people) if answer in self.numbers]
        scores = vqa.scores(given, [people] * len(given))
        return {"answers": [(self.numbers[one], score) for one, score in zip(given, scores.tolist(), strict=True)]}

    def metrics(self, outputs: Floats, samples: Samples) -> Metrics:
        people = [self._people(samples, index) for index in range(len(samples))]
        scores = 100 * vqa.scores([self.known[number] for number in outputs.argmax(1)], people)
        common = vqa.accuracy([self.common] * len(people), people)
        found: Metrics = {"VQA accuracy": (float(scores.mean()), common)}
        kinds = self._facts(samples, KIND)
        for kind in np.unique(kinds):
            found[f"VQA accuracy, {kind}"] = (float(scores[kinds == kind].mean()), None)
        return found

    def answers(self, outputs: Floats, samples: Samples, name: str) -> Answers:
        people = [self._people(samples, index) for index in range(len(samples))]
        predicted = [self.known[number] for number in outputs.argmax(1)]
        images, kinds = (self._facts(samples, name) for name in (IMAGE, KIND))
        values = 100 * vqa.scores(predicted, people)
        return Answers(name, {"predicted": np.array(predicted), "values": values, "clusters": images, "kinds": kinds})

    @cached_property
    def common(self) -> str:
        """The most frequent answer of the training data."""
        given = Counter(normalise(self._fact(self.train, index, "answer")) for index in range(len(self.train)))
        return given.most_common(1)[0][0]

    def _people(self, samples: Samples, index: int) -> list[str]:
        return [normalise(answer) for answer in self._fact(samples, index, ANSWERS)]

    def _facts(self, samples: Samples, name: str) -> NDArray[Any]:
        return np.array([self._fact(samples, index, name) for index in range(len(samples))])

    def _fact(self, samples: Samples, index: int, name: str) -> Any:
        sample = samples.source.read_texts(int(samples.positions[index]))
        if name not in sample.facts:
            raise VltkError(f"{samples.data}: the question {sample.key!r} has no {name!r}: it cannot be scored here")
        return sample.facts[name]


def _scores(outputs: Floats) -> Floats:
    """outputs (N, 2) -> (N,) of class 1."""
    return tied(outputs[:, 1] - outputs[:, 0])


def _margins(outputs: Floats, labels: NDArray[np.int64]) -> Floats:
    """outputs (N, C), labels (N,) -> (N,): the output of the right class minus the largest other one."""
    right = np.take_along_axis(outputs, labels[:, None], 1)[:, 0]
    others = outputs.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, 1)
    return right - others.max(1)


def _number(samples: Samples, index: int, label: str) -> int | float:
    """A whole number names a class, another one is a score."""
    value = samples.source.label(int(samples.positions[index]), label)
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        raise VltkError(
            f"{samples.data}: the label {label!r} of sample number {index} is {value!r}; fine-tuning wants the number "
            "of a class, from 0, or a score"
        ) from None
