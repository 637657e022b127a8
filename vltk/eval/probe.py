"""Multinomial logistic regression by L-BFGS on standardised features, with the penalty chosen on a held-back part.

Minimises mean cross-entropy + penalty / (2 N) * |W|^2, the bias free: scikit-learn's LogisticRegression with
C = 1 / penalty. The search follows CLIP (arXiv 2103.00020, appendix A.3): penalties 1e-6 to 1e6, coarse, then finer
around the best. N samples, D features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

COARSE = (6.0, 4.0, 2.0, 0.0, -2.0, -4.0, -6.0)  # decades of the penalty: large ones fit fast and start the next
FINER = (1.0, 0.5)  # steps in decades around the best
HELD_BACK = 0.2
GRADIENT = 1e-5  # a fit has converged when no entry of the mean loss's gradient is larger


@dataclass(frozen=True)
class Fit:
    """weight (D, C) and bias (C,) at the end of a fit, and how it ended."""

    weight: Tensor
    bias: Tensor
    penalty: float
    iterations: int
    gradient: float  # the largest entry

    @property
    def converged(self) -> bool:
        return self.gradient <= GRADIENT

    def predict(self, x: Tensor) -> Tensor:
        """x (N, D), standardised -> (N,) class numbers."""
        return (x @ self.weight + self.bias).argmax(1)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation (D,) of the training features; a constant feature is left at zero."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Scale:
        deviation = x.std(0, correction=0)
        return cls(x.mean(0), torch.where(deviation > 1e-12, deviation, torch.inf))

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


@dataclass(frozen=True)
class Probe:
    """The fit on all of train at the penalty that was best on the held-back part."""

    scale: Scale
    fit: Fit
    held_back: dict[float, float]  # penalty -> percent right on the held-back part

    def predict(self, features: Floats) -> Ints:
        """features (N, D) -> (N,) class numbers."""
        return self.fit.predict(self.scale(_double(features))).numpy()

    def record(self) -> dict[str, Any]:
        """How the fit went; a best penalty at an end of the range means the range was too short."""
        at_end = self.fit.penalty in (10 ** COARSE[0], 10 ** COARSE[-1])
        return {
            "penalty": self.fit.penalty,
            "penalty_at_end_of_range": at_end,
            "iterations": self.fit.iterations,
            "gradient": self.fit.gradient,
            "converged": self.fit.converged,
        }


def search(features: Floats, labels: Ints, *, seed: int = 0, max_iterations: int = 1000) -> Probe:
    """features (N, D), labels (N,) class numbers 0 to C - 1 -> the probe with the penalty that generalises best."""
    x, y = _double(features), torch.from_numpy(labels)
    classes = int(y.max()) + 1
    fit_part, held_part = _held_back(len(y), seed)
    scale = Scale.of(x[fit_part])
    x_fit, x_held, y_fit, y_held = scale(x[fit_part]), scale(x[held_part]), y[fit_part], y[held_part]
    fits: dict[float, Fit] = {}
    right: dict[float, float] = {}

    def attempt(decade: float) -> None:
        near = min(fits, key=lambda other: abs(other - decade), default=None)
        fits[decade] = fit(x_fit, y_fit, classes, 10.0**decade, max_iterations, None if near is None else fits[near])
        right[decade] = 100 * float((fits[decade].predict(x_held) == y_held).double().mean())

    for decade in COARSE:
        attempt(decade)
        if _enough(right):
            break
    for step in FINER:
        best = _best(right)
        for decade in (best + step, best - step):
            if COARSE[-1] <= decade <= COARSE[0] and decade not in right:
                attempt(decade)
    best = _best(right)
    scale = Scale.of(x)
    final = fit(scale(x), y, classes, 10.0**best, max_iterations, fits[best])
    return Probe(scale, final, {10.0**decade: value for decade, value in right.items()})


def fit(
    x: Tensor, y: Tensor, classes: int, penalty: float, max_iterations: int = 1000, start: Fit | None = None
) -> Fit:
    """x (N, D) float64 and centred, y (N,) class numbers -> the minimum of the penalised loss, from `start` or zero.

    The variable is V with W = L^-T V, L L^T a bound of the Hessian (Boehning 1992): the same minimum in fewer steps,
    as features of a network are strongly correlated.
    """
    root = _hessian_root(x, penalty, classes)  # (D, D)
    weight = x.new_zeros(x.shape[1], classes) if start is None else start.weight
    turned = (root.T @ weight).requires_grad_()  # (D, C)
    bias = (x.new_zeros(classes) if start is None else start.bias.clone()).requires_grad_()
    solver = torch.optim.LBFGS(
        [turned, bias],
        max_iter=max_iterations,
        tolerance_grad=GRADIENT / 100,
        tolerance_change=1e-13,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = objective(x, y, _straight(root, turned), bias, penalty)
        loss.backward()
        return loss

    solver.step(closure)
    iterations = solver.state[turned]["n_iter"]
    return _ended(x, y, _straight(root, turned).detach(), bias.detach(), penalty, iterations)


def objective(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, penalty: float) -> Tensor:
    """Mean cross-entropy of x (N, D) @ weight (D, C) + bias (C,) plus the penalty."""
    loss: Tensor = F.cross_entropy(x @ weight + bias, y) + penalty / (2 * len(x)) * weight.square().sum()
    return loss


def _ended(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, penalty: float, iterations: int) -> Fit:
    with torch.enable_grad():
        leaves = (weight.clone().requires_grad_(), bias.clone().requires_grad_())
        gradients = torch.autograd.grad(objective(x, y, *leaves, penalty), leaves)
    return Fit(weight, bias, penalty, iterations, max(float(gradient.abs().max()) for gradient in gradients))


def _hessian_root(x: Tensor, penalty: float, classes: int) -> Tensor:
    """The Cholesky factor L (D, D) of (1 - 1/C) / 2 * covariance + penalty / N."""
    bound = (1 - 1 / classes) / 2 * (x.T @ x) / len(x)
    bound.diagonal().add_(max(penalty / len(x), 1e-9))  # a floor for features that depend on one another
    root: Tensor = torch.linalg.cholesky(bound)
    return root


def _straight(root: Tensor, turned: Tensor) -> Tensor:
    weight: Tensor = torch.linalg.solve_triangular(root.T, turned, upper=True)
    return weight


def _held_back(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A random order of the samples, cut in the part that is fitted and the part that is held back."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(size))
    cut = size - max(1, round(HELD_BACK * size))
    return order[:cut], order[cut:]


def _best(right: dict[float, float]) -> float:
    """The decade with most right; of equals the largest penalty."""
    return max(right, key=lambda decade: (right[decade], decade))


def _enough(right: dict[float, float]) -> bool:
    """Whether smaller penalties are not worth their many iterations: nothing to gain, or twice worse than the best."""
    best = _best(right)
    return right[best] == 100 or sum(decade < best and right[decade] < right[best] for decade in right) == 2


def _double(features: Floats) -> Tensor:
    return torch.from_numpy(features).double()
