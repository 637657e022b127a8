"""L-BFGS and its line search on functions whose minimum is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vltk.eval.probe.lbfgs import Minimum, minimise
from vltk.eval.probe.line_search import CURVATURE, DECREASE, MOST, Trial, strong_wolfe

Function = Callable[[Tensor], Tensor]


def evaluated(function: Function, point: Tensor) -> tuple[float, Tensor]:
    with torch.enable_grad():
        leaf = point.clone().requires_grad_()
        value = function(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient


def minimum(function: Function, start: Tensor, most: int = 500) -> Minimum:
    search = minimise(start, lambda gradient: float(gradient.abs().max()) < 1e-8, most)
    point = next(search)
    while True:
        try:
            point = search.send(evaluated(function, point))
        except StopIteration as stop:
            assert isinstance(stop.value, Minimum)
            return stop.value


def step(function: Function, point: Tensor, direction: Tensor) -> Trial | None:
    value, gradient = evaluated(function, point)
    search = strong_wolfe(point, value, gradient, direction)
    ask = next(search)
    while True:
        try:
            ask = search.send(evaluated(function, ask))
        except StopIteration as stop:
            trial, asked = stop.value
            assert 1 <= asked <= MOST
            return trial


def rosenbrock(point: Tensor) -> Tensor:
    return (100 * (point[1:] - point[:-1] ** 2) ** 2 + (1 - point[:-1]) ** 2).sum()


def test_rosenbrocks_valley() -> None:
    found = minimum(rosenbrock, torch.tensor([-1.2, 1.0, -1.2, 1.0], dtype=torch.float64))
    assert found.converged and found.iterations < 80
    torch.testing.assert_close(found.point, torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)


def test_an_ill_conditioned_bowl() -> None:
    scales = torch.logspace(0, 2, 30, dtype=torch.float64)
    found = minimum(lambda point: (scales * (point - 1) ** 2).sum() + 1, torch.zeros(30, dtype=torch.float64))
    assert found.converged and found.value == pytest.approx(1, abs=1e-9)


def test_iterations_have_an_end() -> None:
    found = minimum(rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64), most=4)
    assert not found.converged and found.iterations == 4


def test_a_start_at_the_minimum_stays() -> None:
    found = minimum(lambda point: (point**2).sum(), torch.zeros(3, dtype=torch.float64))
    assert not found.point.any() and found.iterations == 0 and found.converged


@pytest.mark.parametrize("length", [1e-3, 1.0, 50.0, 1e4])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: ((x - 3) ** 2).sum(),
        lambda x: (-x / (x**2 + 2)).sum(),
        lambda x: (torch.log1p(torch.exp(-x)) + 1e-3 * x**2).sum(),
    ],
    ids=["parabola", "dip", "logistic"],
)
def test_a_step_satisfies_both_conditions(function: Function, length: float) -> None:
    """However wrong the length of the direction is."""
    point, direction = torch.zeros(1, dtype=torch.float64), torch.full((1,), length, dtype=torch.float64)
    value, gradient = evaluated(function, point)
    slope, trial = float(gradient * direction), step(function, point, direction)
    assert trial is not None and trial.value <= value + DECREASE * trial.step * slope + 1e-7
    assert abs(trial.slope) <= -CURVATURE * slope
    assert trial.value == evaluated(function, point + trial.step * direction)[0]


def test_values_that_are_not_finite_are_stepped_back_from() -> None:
    trial = step(
        lambda x: (-torch.log(4 - x) - 2 * x.log1p()).sum(), torch.zeros(1).double(), torch.full((1,), 9.0).double()
    )
    assert trial is not None and math.isfinite(trial.value) and 0 < 9 * trial.step < 4


def test_no_step_lowers_a_minimum() -> None:
    point = torch.zeros(1, dtype=torch.float64)
    search = strong_wolfe(point, 0.0, torch.full((1,), -1.0).double(), torch.ones(1).double())  # a slope that lies
    ask = next(search)
    with pytest.raises(StopIteration) as stop:
        while True:
            ask = search.send(evaluated(lambda x: (1 + x**2).sum(), ask))
    assert stop.value.value[0] is None
