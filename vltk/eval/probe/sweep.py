"""The choice of the penalty, as CLIP makes it (arXiv 2103.00020, appendix A.3; FLAVA section 5 follows it).

Seven penalties two decades apart, 1e-6 to 1e6; then steps around the best, halved until there are 8 to a decade. The
best on validation data is fitted again to train and validation data together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vltk.errors import VltkError
from vltk.eval.probe.examples import Examples, Ints
from vltk.eval.probe.fit import MAX_ITERATIONS, Fit, Watch, fit
from vltk.eval.probe.loss import right
from vltk.eval.probe.rows import Rows, mean

Solver = Literal["exact", "sklearn"]
Fitter = Callable[[Sequence[Rows], Sequence[float], Sequence[Fit | None]], list[Fit]]

PLACES = 8  # penalties to a decade, at the finest
COARSE = tuple(10.0**decade for decade in (6, 4, 2, 0, -2, -4, -6))
STEPS = (8, 4, 2, 1)  # places around the best
HELD_BACK = 0.2
WIDE = 256  # logits of a row that are computed together: more do not make products faster


@dataclass(frozen=True)
class Tried:
    """A penalty of the sweep: its fit, and the percent right on validation data."""

    fit: Fit
    accuracy: float

    def record(self) -> dict[str, Any]:
        names = ("penalty", "value", "gradient", "iterations", "evaluations", "converged")
        return {"accuracy": self.accuracy} | {name: getattr(self.fit, name) for name in names}


@dataclass(frozen=True)
class Probe:
    """The fit to train and validation data at the best penalty, and the sweep in the order of its penalties."""

    fit: Fit
    sweep: list[Tried]
    solver: Solver
    validation_n: int

    def predict(self, examples: Examples) -> Ints:
        """(N,) class numbers; the labels are not looked at. Raises VltkError naming a sample that is not finite."""
        examples.check_finite()
        return self.fit.predict(examples)

    def margins(self, examples: Examples) -> NDArray[np.float32]:
        """(N,): by how much the logit of each one's own class is above all others; negative where it is wrong."""
        return self.fit.margins(examples)

    def record(self) -> dict[str, Any]:
        """How the fit went; a best penalty at an end of the range means the range was too short."""
        fit, penalties = self.fit, [tried.fit.penalty for tried in self.sweep]
        return {
            "solver": self.solver,
            "penalty": fit.penalty,
            "penalty_at_end_of_range": fit.penalty in (min(penalties), max(penalties)),
            "iterations": fit.iterations,
            "evaluations": fit.evaluations,
            "gradient": fit.gradient,
            "converged": fit.converged,
            "validation_n": self.validation_n,
            "sweep": [tried.record() for tried in self.sweep],
        }


def search(
    train: Examples,
    validation: Examples | None = None,
    *,
    classes: int | None = None,
    penalties: Sequence[float] | None = None,
    solver: Solver = "exact",
    seed: int = 0,
    max_iterations: int = MAX_ITERATIONS,
    device: torch.device | None = None,
    watch: Watch = lambda penalty, iteration, value: None,
) -> Probe:
    """The probe whose penalty is best on `validation`, or on a fifth of each class of `train`, drawn by the seed.

    `penalties` takes the place of the sweep; `classes` is how many there are, where labels can be checked against it.
    Raises VltkError for labels of one class only or out of range, and names a sample whose features are not finite.
    """
    for given in (train,) if validation is None else (train, validation):
        given.check(classes)
    if len(present := np.unique(train.numbers)) < 2:
        raise VltkError(f"{train.name}: a probe needs two classes; all {len(train)} labels are {present[0]}")
    if validation is None:
        train, validation = _parted(train, seed)
    centre = mean(train, device or torch.device("cpu"))
    rows, held = Rows(train, centre), Rows(validation, centre)
    with torch.no_grad():
        sweep = _Sweep(rows, held, _fitter(solver, max_iterations, watch))
        if penalties is None:
            sweep.search()
        else:
            sweep.attempt(penalties)
        best = sweep.best
        (final,) = sweep.fitter([rows, held], [best], [sweep.tried[best].fit])
    return Probe(final, [sweep.tried[penalty] for penalty in sorted(sweep.tried)], solver, len(validation))


class _Sweep:
    """Penalties fitted to `rows` and scored on `held`, by penalty."""

    def __init__(self, rows: Rows, held: Rows, fitter: Fitter) -> None:
        self.rows, self.held, self.fitter = rows, held, fitter
        self.tried: dict[float, Tried] = {}

    def search(self) -> None:
        self.attempt(COARSE)
        for step in STEPS:
            factor, best = 10 ** (step / PLACES), self.best
            self.attempt([value for value in (best * factor, best / factor) if COARSE[-1] <= value <= COARSE[0]])

    def attempt(self, penalties: Sequence[float]) -> None:
        """Large penalties first: they are fitted fast, and smaller ones start from them."""
        together = max(1, WIDE // len(self.rows.classes))
        ordered = sorted(penalties, reverse=True)
        for first in range(0, len(ordered), together):
            group = ordered[first : first + together]
            self._score(self.fitter([self.rows], group, [self._nearest(penalty) for penalty in group]))

    @property
    def best(self) -> float:
        """The penalty with most right; of equals the largest."""
        return max(self.tried, key=lambda penalty: (self.tried[penalty].accuracy, penalty))

    def _score(self, fits: Sequence[Fit]) -> None:
        models = [one.classes for one in fits], [one.weight for one in fits], [one.bias for one in fits]
        for one, found in zip(fits, right([self.held], *models), strict=True):
            self.tried[one.penalty] = Tried(one, 100 * int(found) / len(self.held))

    def _nearest(self, penalty: float) -> Fit | None:
        near = min(self.tried, key=lambda other: abs(np.log(other / penalty)), default=None)
        return None if near is None else self.tried[near].fit


def _fitter(solver: Solver, max_iterations: int, watch: Watch) -> Fitter:
    if solver == "exact":
        chosen = fit
    else:
        from vltk.eval.probe import scikit  # scikit-learn takes a second to import

        chosen = scikit.fit
    return lambda parts, penalties, starts: chosen(parts, penalties, starts, max_iterations=max_iterations, watch=watch)


def _parted(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """What is fitted and what is held back: of each class with two samples or more a fifth, and one at least."""
    order = np.random.default_rng(seed).permutation(len(examples))
    held = []
    for number in np.unique(examples.numbers):
        own = order[examples.numbers[order] == number]
        held.append(own[: max(1, round(HELD_BACK * len(own))) if len(own) > 1 else 0])
    back = np.concatenate(held)
    if not len(back):
        raise VltkError(
            f"{examples.name}: no class has two samples, so that none can be held back; give validation data"
        )
    return examples.part(np.setdiff1d(order, back)), examples.part(back)
