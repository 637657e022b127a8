"""What a model said of each sample, and what is made of it by a metric's name: its interval, and a paired comparison.

A protocol gives its scores the answers that they come from; they are kept beside the results, so that intervals, later
metrics and comparisons of runs need no second evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vltk.errors import VltkError
from vltk.eval.content import digest
from vltk.eval.metrics import classification, correlation, scenes
from vltk.eval.metrics.counted import Counts
from vltk.eval.metrics.retrieval import RECALLS
from vltk.eval.statistics import paired, resample
from vltk.eval.statistics.intervals import Interval, percentiles, wilson

Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Answers:
    """Columns (N,) under a `name` of its own in the task.

    `predicted` and `labels`: classes or scores; `scores`: of class 1; `ranks`: of the right answer, 0 the first;
    `values`: of each sample, in percent (of probes over folds: how many of them are right); `clusters`: the image that
    a query belongs to; `kinds`: of questions; `margins`: what the model gave the right class minus the most that it
    gave another one.
    """

    name: str
    columns: Mapping[str, Column]

    def __getitem__(self, column: str) -> Column:
        if column not in self.columns:
            raise VltkError(f"the answers '{self.name}' have no column {column}; have: {', '.join(self.columns)}")
        return self.columns[column]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def part(self, metric: str) -> Answers:
        """Those that the metric is of: `VQA accuracy, number` of questions of that kind, all others of all."""
        kind = metric.partition(", ")[2]
        if not kind:
            return self
        own = self["kinds"] == kind
        return Answers(f"{self.name}, {kind}", {name: column[own] for name, column in self.columns.items()})


@dataclass(frozen=True)
class _Resampled:
    """A metric that is computed anew for each resample; classes are drawn from themselves where it is `by_class`."""

    metric: Callable[..., Any]
    columns: tuple[str, str]
    by_class: bool

    def of(self, answers: Answers) -> Callable[[Counts], Any]:
        first, second = (answers[name] for name in self.columns)
        return lambda counts: self.metric(first, second, counts)

    def strata(self, answers: Answers) -> Column:
        labels = answers["labels"]
        return labels if self.by_class else np.zeros(len(labels))


_CLASSES = ("predicted", "labels")
RESAMPLED = {
    "mean per-class accuracy": _Resampled(classification.mean_per_class, _CLASSES, True),
    "F1": _Resampled(classification.f1, _CLASSES, True),
    "Matthews correlation": _Resampled(classification.matthews, _CLASSES, True),
    "ROC AUC": _Resampled(correlation.roc_auc, ("scores", "labels"), True),
    "Pearson correlation": _Resampled(correlation.pearson, _CLASSES, False),
    "Spearman correlation": _Resampled(correlation.spearman, _CLASSES, False),
}
_CLASSES_OF_FOLDS = _Resampled(classification.mean_by_class, ("values", "labels"), True)
MEANS = {  # of captions: metrics that are the mean of their values
    "CIDEr", "CIDEr of the nearest caption", "ROUGE-L", "SPICE", "CLIPScore", "RefCLIPScore", "words a caption",
}  # fmt: skip
_RECALL = re.compile(r"R@(\d+)$")
SAME = 1e-9  # points: resampled values this close are equal


def interval(metric: str, value: float, n: int, answers: Answers | None, seed: int = 0) -> Interval | None:
    """The 95 % interval of a metric by its name; None where it needs answers that there are not, or has none.

    Wilson's for shares of independent samples, and for a share whose resamples are all the same, as those of no hits
    are: of so many clusters as there are.
    """
    if _counts_samples(metric, answers):
        return wilson(round(value * n / 100), n)
    drawn = None if answers is None else replicates(metric, answers, seed)
    if answers is None or drawn is None:
        return None
    if _is_share(metric) and np.ptp(drawn) < SAME:
        clusters = len(np.unique(_clusters(answers)))
        return wilson(round(value * clusters / 100), clusters)
    return percentiles(drawn, "cluster bootstrap" if _resampled(metric, answers) is None else "stratified bootstrap")


def seed_of(task: str, seed: int) -> int:
    """What resamples of a task are drawn by: two tasks are drawn apart, two runs on one task together."""
    return int(digest({"task": task, "seed": seed}), 16)


def replicates(metric: str, answers: Answers, seed: int = 0) -> resample.Replicates | None:
    """2,000 resampled values of a metric; None for one that cannot be made of answers.

    Equal seeds draw the same samples, so that metrics of one task are resampled together.
    """
    if (how := _resampled(metric, answers)) is not None:
        return resample.stratified(how.of(answers), how.strata(answers), seed=seed)
    if (values := _values(metric, answers)) is not None:
        return resample.clustered(values, _clusters(answers), seed=seed)
    if _ends(metric, "mean recall"):
        return _mean_recalls(answers, seed)
    return _medians(answers, seed) + 1 if _ends(metric, "median rank") else None


def compare(metric: str, first: Answers, second: Answers, gained: float, seed: int = 0) -> paired.Difference | None:
    """Two runs on the same samples, resampled together; `gained` is the second's value minus the first's.

    Of an accuracy the p-value is McNemar's, except over folds; None for a metric that cannot be made of answers. Raises
    VltkError where the samples are not the same.
    """
    _require_same(first, second)
    before, after = replicates(metric, first, seed), replicates(metric, second, seed)
    if before is None or after is None:
        return None
    found = paired.difference(gained, after - before)
    if not _is_accuracy(metric) or _of_folds(first):
        return found
    p = paired.mcnemar(*(one["predicted"] == one["labels"] for one in (first, second)))
    return paired.Difference(found.value, found.interval, p)


def _counts_samples(metric: str, answers: Answers | None) -> bool:
    """Whether it is the share of samples that are right, each drawn by itself."""
    if _RECALL.search(_base(metric)):
        return answers is not None and len(np.unique(_clusters(answers))) == len(answers)
    return (_is_accuracy(metric) and not _of_folds(answers)) or _base(metric) in scenes.METRICS


def _is_share(metric: str) -> bool:
    """Of samples, in percent."""
    return _ends(metric, "accuracy", "mean recall") or _RECALL.search(_base(metric)) is not None


def _is_accuracy(metric: str) -> bool:
    return _ends(metric, "accuracy") and not _ends(metric, "mean per-class accuracy", "VQA accuracy")


def _ends(metric: str, *names: str) -> bool:
    """Whether it is one of these metrics, of whatever it is said to be: `matched accuracy`, `F1 at random weights`,
    `VQA accuracy, number`."""
    return _base(metric).endswith(names)


def _base(metric: str) -> str:
    return metric.removesuffix(" at random weights").partition(", ")[0]


def _of_folds(answers: Answers | None) -> bool:
    """Whether these are shares of several probes that are right, and not the classes that one probe gives."""
    return answers is not None and "values" in answers.columns and "predicted" not in answers.columns


def _resampled(metric: str, answers: Answers | None) -> _Resampled | None:
    if _of_folds(answers) and _ends(metric, "mean per-class accuracy"):
        return _CLASSES_OF_FOLDS
    return next((how for name, how in RESAMPLED.items() if _ends(metric, name)), None)


def _values(metric: str, answers: Answers) -> NDArray[np.float64] | None:
    """(N,) whose mean is the metric, in percent."""
    if found := _RECALL.search(_base(metric)):
        return np.asarray(100.0 * (answers["ranks"] < int(found[1])), np.float64)
    of_folds = _is_accuracy(metric) and _of_folds(answers)
    if of_folds or _ends(metric, "VQA accuracy") or _base(metric) in MEANS | {*scenes.METRICS}:
        return np.asarray(answers["values"], np.float64)
    if _is_accuracy(metric):
        return np.asarray(100.0 * (answers["predicted"] == answers["labels"]), np.float64)
    return None


def _clusters(answers: Answers) -> Column:
    """The image of each query; each sample its own where none are told."""
    told = answers.columns.get("clusters")
    return np.arange(len(answers)) if told is None else told


def _mean_recalls(answers: Answers, seed: int) -> resample.Replicates:
    """Resampled means of R@1, R@5 and R@10 both ways, told by `ways`; whole images are drawn, the same for both."""
    ranks, clusters, ways = (answers[name] for name in ("ranks", "clusters", "ways"))
    values = 100 * np.mean([ranks < k for k in RECALLS], axis=0)
    parts = [resample.clustered(values[ways == way], clusters[ways == way], seed=seed) for way in np.unique(ways)]
    return np.asarray(np.mean(parts, axis=0))


def _medians(answers: Answers, seed: int) -> resample.Replicates:
    """Resampled medians of the ranks, whole images drawn; 0 is the first rank."""
    ranks, groups = answers["ranks"], np.unique(_clusters(answers), return_inverse=True)[1]
    order = np.argsort(ranks, kind="stable")
    parts = []
    for drawn in resample.draws(np.zeros(groups.max() + 1), seed=seed):
        below = drawn[:, groups[order]].cumsum(1)  # (r, Q)
        total = below[:, -1:]
        ends = [(below > middle).argmax(1) for middle in ((total - 1) // 2, total // 2)]
        parts.append((ranks[order][ends[0]] + ranks[order][ends[1]]) / 2)
    return np.concatenate(parts)


def _require_same(first: Answers, second: Answers) -> None:
    for name in ("labels", "clusters"):
        if name in first.columns or name in second.columns:
            ours, theirs = first[name], second[name]
            if ours.shape != theirs.shape or not (ours == theirs).all():
                raise VltkError(f"a paired test needs both runs on the same samples; '{first.name}' differs in {name}")
