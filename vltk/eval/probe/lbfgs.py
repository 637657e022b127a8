"""L-BFGS (Nocedal and Wright, algorithm 7.5) that asks for values and gradients: several can share one evaluation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass

from torch import Tensor

from vltk.eval.probe.line_search import Evaluated, strong_wolfe

MEMORY = 10
DECREASE = 1e-7  # of the value: what a step may still promise where a search has converged,
LITTLE = 1e-10  # or this, by itself: of losses near zero, which only go on to shrink
LEAST = 5  # pairs without which a search does not know the curvature, nor what a step promises,
SURELY = 1e-12  # of the value, unless it promises less than this


@dataclass(frozen=True)
class Minimum:
    """Where a search ended. `converged`: the gradient is small and no step promises more than DECREASE, or LITTLE."""

    point: Tensor
    value: float
    gradient: Tensor
    iterations: int
    evaluations: int
    converged: bool


class History:
    """The last steps and changes of the gradient, which stand for the inverse of the Hessian."""

    def __init__(self) -> None:
        self.pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=MEMORY)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Keeps the pair where the curvature along the step is positive."""
        product = float((step * change).sum())
        if product > 1e-12 * float((change * change).sum()):
            self.pairs.append((step, change, product))

    def direction(self, gradient: Tensor) -> Tensor:
        """Minus the inverse Hessian times the gradient, by the two-loop recursion."""
        vector, shares = -gradient, []
        for step, change, product in reversed(self.pairs):
            shares.append(float((step * vector).sum()) / product)
            vector = vector - shares[-1] * change
        if self.pairs:
            _, change, product = self.pairs[-1]
            vector = vector * (product / float((change * change).sum()))
        for (step, change, product), share in zip(self.pairs, reversed(shares), strict=True):
            vector = vector + (share - float((change * vector).sum()) / product) * step
        return vector


def minimise(
    start: Tensor,
    small: Callable[[Tensor], bool],
    max_iterations: int,
    watch: Callable[[int, float], None] = lambda iteration, value: None,
) -> Generator[Tensor, Evaluated, Minimum]:
    """From `start` (any shape, float64): asks for points, is sent (value, gradient), and returns the minimum.

    `small` says whether a gradient is small enough to stop; `watch` sees each iteration's number and value.
    """
    point, history, iterations, evaluations = start, History(), 0, 1
    value, gradient = yield point
    while True:
        direction = history.direction(gradient)
        promised = -float((gradient * direction).sum()) / 2
        known = len(history.pairs) >= LEAST
        worth = max(DECREASE * abs(value), LITTLE) if known else SURELY * abs(value)
        converged = promised <= worth and small(gradient)
        if converged or iterations == max_iterations:
            break
        trial, asked = yield from strong_wolfe(point, value, gradient, direction)
        evaluations += asked
        if trial is None:
            if not history.pairs:  # not even the plain gradient lowers the value: fp32 sees no further
                converged = small(gradient)
                break
            history = History()
            continue
        step = trial.step * direction
        history.add(step, trial.gradient - gradient)
        point, value, gradient = point + step, trial.value, trial.gradient
        iterations += 1
        watch(iterations, value)
    return Minimum(point, value, gradient, iterations, evaluations, converged)
