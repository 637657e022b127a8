"""The same fits by scikit-learn's LogisticRegression, as CLIP and FLAVA ran it: L-BFGS from zero on the plain features.

Its own tolerance stops it early, the more so the smaller the penalty; the published figures come from there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from vltk.eval.probe.fit import MAX_ITERATIONS, Fit, Watch
from vltk.eval.probe.loss import Objective
from vltk.eval.probe.rows import Rows

TOLERANCE = 1e-4  # scikit-learn's: the largest entry of the gradient


def fit(
    parts: Sequence[Rows],
    penalties: Sequence[float],
    starts: Sequence[Fit | None],
    *,
    max_iterations: int = MAX_ITERATIONS,
    watch: Watch = lambda penalty, iteration, value: None,
    tolerance: float = TOLERANCE,
) -> list[Fit]:
    """What vltk.eval.probe.fit.fit gives; `starts` are not used, and `watch` sees the ends alone."""
    x = np.concatenate([rows.examples.read(0, len(rows)) for rows in parts])
    y = np.concatenate([rows.examples.numbers for rows in parts])
    fits = []
    for penalty in penalties:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # recorded as `converged`
            model = LogisticRegression(C=1 / penalty, max_iter=max_iterations, tol=tolerance).fit(x, y)
        fits.append(_as_fit(model, parts, penalty, max_iterations))
        watch(penalty, fits[-1].iterations, fits[-1].value)
    return fits


def _as_fit(model: LogisticRegression, parts: Sequence[Rows], penalty: float, max_iterations: int) -> Fit:
    centre = parts[0].centre
    weight = torch.from_numpy(model.coef_).to(centre)
    bias = torch.from_numpy(model.intercept_).to(centre)
    if len(weight) == 1:  # two classes share one vector
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    bias = bias + weight @ centre
    objective = Objective(parts, model.classes_)
    value, to_weight, to_bias = objective.cross_entropy(weight[None], bias[None])
    strength, iterations = objective.strength(penalty), int(model.n_iter_[0])
    gradient = torch.cat([to_weight[0] + strength * weight, to_bias[0][:, None]], 1)
    penalised = float(value) + strength / 2 * float(weight.square().sum())
    size, ended = float(gradient.abs().max()), iterations < max_iterations
    return Fit(weight, bias, centre, model.classes_, penalty, penalised, size, iterations, None, ended)
