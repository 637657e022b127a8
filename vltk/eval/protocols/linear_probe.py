"""Linear probe: multinomial logistic regression on frozen image features (FLAVA section 5, after CLIP section 3.2).

Features are the image encoder's CLS after the final norm; the penalty is chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vltk.errors import RecipeError, VltkError
from vltk.eval.answers import Answers
from vltk.eval.metrics import classification
from vltk.eval.results import Score

if TYPE_CHECKING:  # features and probe import torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Samples, Subject
    from vltk.eval.probe.examples import Examples
    from vltk.eval.sources import Label

Ints = NDArray[np.int64]
Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
METRICS = {"accuracy": classification.accuracy, "mean per-class accuracy": classification.mean_per_class}
AT_RANDOM = " at random weights"
FOLD = "{fold}"  # in the name of a data set: 0 and up


class LinearProbe:
    """Accuracy and mean per-class accuracy (percent) on `test` of a probe trained on `train`, for the field `label`.

    `limit` samples of each are drawn by the seed (None: all). The penalty is the best on `validation` (None: on a fifth
    of `train`). With `random_weights` the same encoder, freshly initialised, is probed beside it as the baseline: what
    the architecture and the task give without any training. `solver`: to the exact minimum, or as scikit-learn stops.
    `feature`: the CLS after or before the final norm, the mean of the patches, or the contrastive embedding. `framing`:
    the whole image squashed to a square, as FLAVA's processors do, or the square in its middle, as CLIP's. `folds`: so
    many probes, with 0 and up in the place of {fold} in `train` and `validation`; each metric is the mean over them.
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
        folds: Annotated[int | None, Field(gt=1)] = None,
    ) -> None:
        self.train, self.test, self.label, self.random_weights = train, test, label, random_weights
        self.limit, self.max_iterations, self.batch_size = limit, max_iterations, batch_size
        self.validation, self.solver, self.feature, self.framing = validation, solver, feature, framing
        self.folds = _checked(folds, train, validation)

    @property
    def data_sets(self) -> list[str]:
        named = [name for train, validation in self._pairs for name in (train, self.test, validation) if name]
        return list(dict.fromkeys(named))

    @property
    def features(self) -> dict[str, list[str]]:
        """What is read of each data set."""
        return {data: [self.feature] for data in self.data_sets}

    @property
    def needs(self) -> list[str]:
        """Abilities of the model."""
        return ["embedding" if self.feature == "embedding" else "image"]

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
        parts = [self._part(subject, *names) for names in self._pairs]
        test = subject.samples(self.test, self.limit)
        classes = _Classes([label for part in parts for label in part.seen], test.labels(self.label))
        scores = []
        for random_weights in [False, True] if self.random_weights else [False]:
            fits = [self._fit(subject, part, test, classes, random_weights) for part in parts]
            scores += _scores(test.split, fits, AT_RANDOM if random_weights else "")
        return scores

    @property
    def _pairs(self) -> list[tuple[str, str | None]]:
        """Names of the training and validation data of each probe."""
        if self.folds is None:
            return [(self.train, self.validation)]
        folds = map(str, range(self.folds))
        return [(self.train.replace(FOLD, n), self.validation and self.validation.replace(FOLD, n)) for n in folds]

    def _part(self, subject: Subject, train: str, validation: str | None) -> _Part:
        samples = subject.samples(train, self.limit)
        labels = samples.labels(self.label)
        if len(set(labels)) < 2:
            raise VltkError(f"{train}: {self.label!r} has one value only in {len(labels)} samples: {labels[:1]}")
        held = subject.samples(validation, self.limit) if validation else None
        return _Part(samples, held, len(set(labels)), labels + (held.labels(self.label) if held else []))

    def _fit(self, subject: Subject, part: _Part, test: Samples, classes: _Classes, random_weights: bool) -> _Fit:
        """The probe of a part, and what it says of the test samples."""
        from vltk.eval.probe.sweep import search

        found = search(
            self._examples(part.train, classes, random_weights),
            None if part.validation is None else self._examples(part.validation, classes, random_weights),
            seed=subject.seed,
            solver=self.solver,
            max_iterations=self.max_iterations,
            device=subject.device,
            watch=lambda penalty, iteration, value: subject.watch(f"lambda {penalty:.0e}", iteration, 0),
        )
        examples = self._examples(test, classes, random_weights)
        columns = {"predicted": found.predict(examples), "labels": examples.numbers}
        detail = {"train_n": len(part.train), "classes": part.classes} | classes.told() | found.record()
        return _Fit(columns | {"margins": found.margins(examples)}, classes.majority(part.seen), detail)

    def _examples(self, samples: Samples, classes: _Classes, random_weights: bool) -> Examples:
        from vltk.eval.probe.examples import Examples

        features = samples.image_features(self.batch_size, random_weights, self.feature, self.framing)
        return Examples(features, classes.numbers(samples.labels(self.label)), name=samples.data)


@dataclass(frozen=True)
class _Part:
    """What a probe is fitted to: `classes` labels in `train`, all those `seen` with those of `validation`."""

    train: Samples
    validation: Samples | None
    classes: int
    seen: Sequence[Label]


@dataclass(frozen=True)
class _Fit:
    """Columns of answers (N,) of one probe, the class that its training data has most of, and how the fit went."""

    columns: Mapping[str, NDArray[Any]]
    majority: int
    detail: dict[str, Any]


class _Classes:
    """Class numbers of labels: of official data sets the labels themselves, else their places in order."""

    def __init__(self, seen: Sequence[Label], wanted: Sequence[Label]) -> None:
        known: list[Any] = sorted({*seen, *wanted})
        given = all(isinstance(label, int) for label in known)
        self._number = {label: label if given else place for place, label in enumerate(known)}

    def told(self) -> dict[str, Any]:
        """The labels by class number, where they are not these numbers."""
        names = list(map(str, self._number))
        return {} if all(isinstance(label, int) for label in self._number) else {"names": names}

    def numbers(self, labels: Sequence[Label]) -> Ints:
        """(n,)"""
        return np.array([self._number[label] for label in labels], np.int64)

    def majority(self, seen: Sequence[Label]) -> int:
        """The most frequent one."""
        return int(np.bincount(self.numbers(seen)).argmax())


def _checked(folds: int | None, train: str, validation: str | None) -> int | None:
    """`folds` as it is. Raises RecipeError where no name has a place for its number, or one has without `folds`."""
    placed = [name for name in (train, validation) if name and FOLD in name]
    if folds is not None and FOLD not in train:
        raise RecipeError(f"folds: {folds} given, but {FOLD}, which stands for their numbers, is not in train: {train}")
    if folds is None and placed:
        raise RecipeError(f"{placed[0]}: {FOLD} stands for the number of a fold; say how many, as folds: 10")
    return folds


def _scores(split: str, fits: Sequence[_Fit], behind: str) -> list[Score]:
    """All metrics, each the mean over the fits; how these went goes with the first one."""
    labels = fits[0].columns["labels"]
    one = len(fits) == 1
    answers = Answers(f"test{behind}", fits[0].columns if one else _averaged(fits))
    detail = fits[0].detail if one else _of_folds(fits)
    scores = []
    for name, metric in METRICS.items():
        value = float(np.mean([metric(fit.columns["predicted"], labels) for fit in fits]))
        chance = float(np.mean([metric(np.full(len(labels), fit.majority), labels) for fit in fits]))
        scores.append(Score(split, f"{name}{behind}", value, len(labels), chance, detail, answers))
        detail = {}
    return scores


def _averaged(fits: Sequence[_Fit]) -> dict[str, NDArray[Any]]:
    """Columns (N,): in how many of the fits a sample is right, in percent, and its mean margin."""
    labels = fits[0].columns["labels"]
    right = np.stack([fit.columns["predicted"] == labels for fit in fits])  # (F, N)
    margins = np.stack([fit.columns["margins"] for fit in fits])
    return {"values": 100 * right.mean(0), "labels": labels, "margins": margins.mean(0)}


def _of_folds(fits: Sequence[_Fit]) -> dict[str, Any]:
    """How each fit went, and what is true of all of them; `deviation`: of their accuracies, in points."""
    accuracies = [classification.accuracy(fit.columns["predicted"], fit.columns["labels"]) for fit in fits]
    folds = [{"accuracy": value} | fit.detail for value, fit in zip(accuracies, fits, strict=True)]
    return {
        "deviation": float(np.std(accuracies, ddof=1)),
        "converged": all(fold["converged"] for fold in folds),
        "penalty_at_end_of_range": any(fold["penalty_at_end_of_range"] for fold in folds),
        "folds": folds,
    } | ({"names": folds[0]["names"]} if "names" in folds[0] else {})
