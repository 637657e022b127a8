"""Linear probe: multinomial logistic regression on frozen image features (FLAVA section 5, after CLIP section 3.2).

Features are the image encoder's CLS after the final norm; the penalty is chosen on validation data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vltk.errors import VltkError
from vltk.eval.results import Score

if TYPE_CHECKING:  # features and probe import torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Samples, Subject
    from vltk.eval.probe.examples import Examples

Ints = NDArray[np.int64]
Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
ACCURACY, ACCURACY_AT_RANDOM = "accuracy", "accuracy at random weights"


class LinearProbe:
    """Accuracy (percent) on `test` of a probe trained on `train`, for the field `label` of the samples.

    `limit` samples of each are drawn by the seed (None: all). The penalty is the best on `validation` (None: on a fifth
    of `train`). With `random_weights` the same encoder, freshly initialised, is probed beside it as the baseline: what
    the architecture and the task give without any training. `solver`: to the exact minimum, or as scikit-learn stops.
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
    ) -> None:
        self.train, self.test, self.label, self.random_weights = train, test, label, random_weights
        self.limit, self.max_iterations, self.batch_size = limit, max_iterations, batch_size
        self.validation, self.solver = validation, solver

    @property
    def data_sets(self) -> list[str]:
        return [self.train, self.test] + ([self.validation] if self.validation else [])

    @property
    def metrics(self) -> list[str]:
        return [ACCURACY, ACCURACY_AT_RANDOM] if self.random_weights else [ACCURACY]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError naming the sample without the label, without a decodable image, or without finite features.

        A test label that neither train nor validation has counts as wrong.
        """
        from vltk.eval.probe.sweep import search

        train, test = subject.samples(self.train, self.limit), subject.samples(self.test, self.limit)
        validation = subject.samples(self.validation, self.limit) if self.validation else None
        names = train.labels(self.label)
        if len(set(names)) < 2:
            raise VltkError(f"{self.train}: {self.label!r} has one value only in {len(train)} samples: {names[:1]}")
        classes = sorted({*names, *(validation.labels(self.label) if validation else [])})
        test_labels = _numbers(test.labels(self.label), classes)
        chance = _percent(test_labels == np.bincount(_numbers(names, classes)).argmax())
        scores = []
        for random_weights in [False, True] if self.random_weights else [False]:
            found = search(
                self._examples(train, classes, random_weights),
                None if validation is None else self._examples(validation, classes, random_weights),
                seed=subject.seed,
                solver=self.solver,
                max_iterations=self.max_iterations,
                device=subject.device,
            )
            value = _percent(found.predict(self._examples(test, classes, random_weights)) == test_labels)
            metric = ACCURACY_AT_RANDOM if random_weights else ACCURACY
            detail = {"train_n": len(train), "classes": len(classes)} | found.record()
            scores.append(Score(test.split, metric, value, len(test), chance, detail))
        return scores

    def _examples(self, samples: Samples, classes: list[str], random_weights: bool) -> Examples:
        from vltk.eval.probe.examples import Examples

        features = samples.image_features(self.batch_size, random_weights)
        return Examples(features, _numbers(samples.labels(self.label), classes), name=samples.data)


def _numbers(labels: list[str], classes: list[str]) -> Ints:
    """(n,) positions in `classes`, -1 where a label is not among them."""
    number = {label: index for index, label in enumerate(classes)}
    return np.array([number.get(label, -1) for label in labels])


def _percent(right: NDArray[np.bool_]) -> float:
    return 100 * float(right.mean())
