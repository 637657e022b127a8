"""Fits of one or several penalties at once: their searches ask, one pass over the rows answers all of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vltk.eval.probe.conditioning import Covariance
from vltk.eval.probe.examples import Examples, Ints
from vltk.eval.probe.lbfgs import Minimum, minimise
from vltk.eval.probe.line_search import Evaluated
from vltk.eval.probe.loss import Objective, margins, predicted
from vltk.eval.probe.rows import Rows

MAX_ITERATIONS = 1000  # FLAVA section 5, CLIP appendix A.3
GRADIENT = 1e-5  # the largest entry at which a fit has converged, for features that deviate by 1 on average

Watch = Callable[[float, int, float], None]  # penalty, iteration, value


@dataclass(frozen=True)
class Fit:
    """weight (C, D) and bias (C,), float64, of features minus `centre` (D,), for the class numbers `classes` (C,)."""

    weight: Tensor
    bias: Tensor
    centre: Tensor
    classes: Ints
    penalty: float
    value: float  # of the penalised mean loss
    gradient: float  # its largest entry
    iterations: int
    evaluations: int | None  # None where the solver does not say
    converged: bool

    def predict(self, examples: Examples) -> Ints:
        """(N,) class numbers."""
        found = [predicted(x, self.classes, self.weight, self.bias) for x, _ in Rows(examples, self.centre, keep=False)]
        return torch.cat(found).cpu().numpy()

    def margins(self, examples: Examples) -> NDArray[np.float32]:
        """(N,): by how much the logit of each one's own class is above all others; negative where it is wrong."""
        rows = Rows(examples, self.centre, keep=False)
        return torch.cat([margins(x, y, self.classes, self.weight, self.bias) for x, y in rows]).cpu().numpy()

    def columns(self, classes: Ints) -> tuple[Tensor, Tensor]:
        """weight and bias for other classes: zero for those that this fit does not know."""
        weight, bias = self.weight.new_zeros(len(classes), self.weight.shape[1]), self.bias.new_zeros(len(classes))
        known = np.isin(classes, self.classes)
        own = torch.from_numpy(np.searchsorted(self.classes, classes[known])).to(weight.device)
        places = torch.from_numpy(known).to(weight.device)
        weight[places], bias[places] = self.weight[own], self.bias[own]
        return weight, bias


def fit(
    parts: Sequence[Rows],
    penalties: Sequence[float],
    starts: Sequence[Fit | None],
    *,
    max_iterations: int = MAX_ITERATIONS,
    watch: Watch = lambda penalty, iteration, value: None,
) -> list[Fit]:
    """The minimum for each penalty over all rows of the parts, which share one centre, from its start or from zero."""
    classes = np.unique(np.concatenate([rows.classes for rows in parts]))
    objective, covariance = Objective(parts, classes), Covariance.of(parts)
    problems = [_Problem(objective, covariance, penalty) for penalty in penalties]
    searches = [
        minimise(problem.start(start), problem.small, max_iterations, _watching(watch, problem.penalty))
        for problem, start in zip(problems, starts, strict=True)
    ]
    return [problem.ended(end) for problem, end in zip(problems, _together(problems, searches), strict=True)]


class _Problem:
    """One penalty, in the variables (C, D + 1) in which it is well conditioned: along eigenvectors, then the bias."""

    def __init__(self, objective: Objective, covariance: Covariance, penalty: float) -> None:
        self.objective, self.covariance, self.penalty = objective, covariance, penalty
        self.strength = objective.strength(penalty)
        self.scales = covariance.scales(self.strength, len(objective.classes))
        deviation = float(covariance.values.mean().sqrt())
        self.enough = GRADIENT * (deviation if deviation > 0 else 1.0)

    def start(self, fit: Fit | None) -> Tensor:
        if fit is None:
            return self.scales.new_zeros(len(self.objective.classes), len(self.scales))
        weight, bias = fit.columns(self.objective.classes)
        return torch.cat([self.covariance.turned(weight), bias[:, None]], 1) / self.scales

    def weight(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """A point (C, D + 1) as weight (C, D) and bias (C,)."""
        turned = point * self.scales
        return self.covariance.straight(turned[:, :-1]), turned[:, -1]

    def penalised(self, point: Tensor, value: Tensor, to_weight: Tensor, to_bias: Tensor) -> Evaluated:
        """What the search is sent: the mean loss and its gradients, with the penalty, in its own variables."""
        turned = (point * self.scales)[:, :-1]
        gradient = torch.cat([self.covariance.turned(to_weight) + self.strength * turned, to_bias[:, None]], 1)
        return float(value) + self.strength / 2 * float(turned.square().sum()), gradient * self.scales

    def largest(self, gradient: Tensor) -> float:
        """The largest entry of the gradient by the weight and the bias."""
        plain = gradient / self.scales
        return max(float(part.abs().max()) for part in (self.covariance.straight(plain[:, :-1]), plain[:, -1]))

    def small(self, gradient: Tensor) -> bool:
        return self.largest(gradient) <= self.enough

    def ended(self, end: Minimum) -> Fit:
        weight, bias = self.weight(end.point)
        return Fit(
            weight,
            bias,
            self.objective.parts[0].centre,
            self.objective.classes,
            self.penalty,
            end.value,
            self.largest(end.gradient),
            end.iterations,
            end.evaluations,
            end.converged,
        )


def _together(problems: Sequence[_Problem], searches: Sequence[Generator[Tensor, Evaluated, Minimum]]) -> list[Minimum]:
    """Runs the searches side by side; those that have not ended share each pass over the rows."""
    asked = {index: next(search) for index, search in enumerate(searches)}
    ended: dict[int, Minimum] = {}
    while asked:
        weights, biases = zip(*(problems[index].weight(point) for index, point in asked.items()), strict=True)
        answers = problems[0].objective.cross_entropy(torch.stack(weights), torch.stack(biases))
        for (index, point), *answer in zip(list(asked.items()), *answers, strict=True):
            try:
                asked[index] = searches[index].send(problems[index].penalised(point, *answer))
            except StopIteration as stop:
                ended[index] = stop.value
                del asked[index]
    return [ended[index] for index in range(len(searches))]


def _watching(watch: Watch, penalty: float) -> Callable[[int, float], None]:
    return lambda iteration, value: watch(penalty, iteration, value)
