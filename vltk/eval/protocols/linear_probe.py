"""Linear probe: multinomial logistic regression on frozen image features (FLAVA section 5, after CLIP section 3.2).

Features are the image encoder's CLS after the final norm; the penalty is chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.answers import Answers
from vltk.eval.metrics import classification
from vltk.eval.results import Score

if TYPE_CHECKING:  # features and probe import torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Samples, Subject
    from vltk.eval.probe.examples import Examples
    from vltk.eval.probe.sweep import Probe
    from vltk.eval.sources import Label

Ints = NDArray[np.int64]
Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
METRICS = {"accuracy": classification.accuracy, "mean per-class accuracy": classification.mean_per_class}
AT_RANDOM = " at random weights"


class LinearProbe:
    """Accuracy and mean per-class accuracy (percent) on `test` of a probe trained on `train`, for the field `label`.

    `limit` samples of each are drawn by the seed (None: all). The penalty is the best on `validation` (None: on a fifth
    of `train`). With `random_weights` the same encoder, freshly initialised, is probed beside it as the baseline: what
    the architecture and the task give without any training. `solver`: to the exact minimum, or as scikit-learn stops.
    `feature`: the CLS after or before the final norm, the mean of the patches, or the contrastive embedding. `framing`:
    the whole image squashed to a square, as FLAVA's processors do, or the square in its middle, as CLIP's.
    """

    def __init__(
        self,
        *,
        train: str,
        test: str,
        label: str,
        random_weights: bool = False,
        limit: Limit = None,
        max_iterations: Count = 1000,
        batch_size: Count = 128,
        validation: str | None = None,
        solver: Literal["exact", "sklearn"] = "exact",
        feature: Literal["cls", "cls_before_norm", "patches", "embedding"] = "cls",
        framing: Literal["squash", "crop"] = "squash",
    ) -> None:
        self.train, self.test, self.label, self.random_weights = train, test, label, random_weights
        self.limit, self.max_iterations, self.batch_size = limit, max_iterations, batch_size
        self.validation, self.solver, self.feature, self.framing = validation, solver, feature, framing

    @property
    def data_sets(self) -> list[str]:
        return [self.train, self.test] + ([self.validation] if self.validation else [])

    @property
    def features(self) -> dict[str, list[str]]:
        """What is read of each data set."""
        return {data: [self.feature] for data in self.data_sets}

    @property
    def reads(self) -> list[str]:
        """Parts of the model."""
        return ["image", *(["image_projection"] if self.feature == "embedding" else [])]

    @property
    def metrics(self) -> list[str]:
        return [*METRICS, *(f"{name}{AT_RANDOM}" for name in METRICS if self.random_weights)]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError naming the sample without the label, without a decodable image, or without finite features.

        A test label that neither train nor validation has counts as wrong.
        """
        train, test = subject.samples(self.train, self.limit), subject.samples(self.test, self.limit)
        validation = subject.samples(self.validation, self.limit) if self.validation else None
        seen = train.labels(self.label)
        if len(set(seen)) < 2:
            raise VltkError(f"{self.train}: {self.label!r} has one value only in {len(train)} samples: {seen[:1]}")
        seen += validation.labels(self.label) if validation else []
        wanted = test.labels(self.label)
        classes = _Classes(seen, wanted)
        scores = []
        for random_weights in [False, True] if self.random_weights else [False]:
            found = self._fitted(subject, train, validation, classes, random_weights)
            examples = self._examples(test, classes, random_weights)
            columns = {"predicted": found.predict(examples), "labels": examples.numbers}
            detail = {"train_n": len(train), "classes": len(set(seen))} | classes.told() | found.record()
            behind = AT_RANDOM if random_weights else ""
            answers = Answers(f"test{behind}", columns | {"margins": found.margins(examples)})
            scores += _scores(test.split, answers, behind, classes.majority, detail)
        return scores

    def _fitted(
        self, subject: Subject, train: Samples, validation: Samples | None, classes: _Classes, random_weights: bool
    ) -> Probe:
        from vltk.eval.probe.sweep import search

        return search(
            self._examples(train, classes, random_weights),
            None if validation is None else self._examples(validation, classes, random_weights),
            seed=subject.seed,
            solver=self.solver,
            max_iterations=self.max_iterations,
            device=subject.device,
            watch=lambda penalty, iteration, value: subject.watch(f"lambda {penalty:.0e}", iteration, 0),
        )

    def _examples(self, samples: Samples, classes: _Classes, random_weights: bool) -> Examples:
        from vltk.eval.probe.examples import Examples

        features = samples.image_features(self.batch_size, random_weights, self.feature, self.framing)
        return Examples(features, classes.numbers(samples.labels(self.label)), name=samples.data)


class _Classes:
    """Class numbers of labels: of official data sets the labels themselves, else their places in order.

    `majority` is the most frequent one of those `seen` in training.
    """

    def __init__(self, seen: Sequence[Label], wanted: Sequence[Label]) -> None:
        known: list[Any] = sorted({*seen, *wanted})
        given = all(isinstance(label, int) for label in known)
        self._number = {label: label if given else place for place, label in enumerate(known)}
        self.majority = int(np.bincount(self.numbers(seen)).argmax())

    def told(self) -> dict[str, Any]:
        """The labels by class number, where they are not these numbers."""
        names = list(map(str, self._number))
        return {} if all(isinstance(label, int) for label in self._number) else {"names": names}

    def numbers(self, labels: Sequence[Label]) -> Ints:
        """(n,)"""
        return np.array([self._number[label] for label in labels], np.int64)


def _scores(split: str, answers: Answers, behind: str, majority: int, detail: dict[str, Any]) -> list[Score]:
    """All metrics of the answers; `detail` goes with the first one."""
    predicted, labels = answers["predicted"], answers["labels"]
    guessed = np.full(len(labels), majority)
    scores = []
    for name, metric in METRICS.items():
        value, chance = metric(predicted, labels), metric(guessed, labels)
        scores.append(Score(split, f"{name}{behind}", value, len(labels), chance, detail, answers))
        detail = {}
    return scores
