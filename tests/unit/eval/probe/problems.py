"""Features and labels whose difficulty is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from vltk.eval.probe.examples import Examples, Floats, Ints
from vltk.eval.probe.fit import Fit, fit
from vltk.eval.probe.rows import Rows, mean

CPU = torch.device("cpu")


def correlated(
    samples: int = 400, width: int = 12, classes: int = 4, noise: float = 1.0, seed: int = 0
) -> tuple[Floats, Ints]:
    """Features as a network's: correlated, with an offset; labels that they tell up to `noise`."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(samples, width)) / np.sqrt(1 + np.arange(width))
    logits = 2 * hidden @ rng.normal(size=(width, classes)) + noise * rng.gumbel(size=(samples, classes))
    return (hidden @ rng.normal(size=(width, width)) + 3).astype(np.float32), logits.argmax(1)


def spread(samples: int = 2000, width: int = 32, classes: int = 5, seed: int = 0) -> tuple[Floats, Ints]:
    """Features as a trained network's: a few large directions, and the labels are told by the small ones as well."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(samples, width))
    logits = hidden @ rng.normal(size=(width, classes)) / 2 + rng.gumbel(size=(samples, classes))
    turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
    return (hidden * np.geomspace(10, 1e-2, width) @ turn).astype(np.float32), logits.argmax(1)


def fitted(features: Floats, labels: Ints, *penalties: float, block: int | None = None, **options: Any) -> list[Fit]:
    examples = Examples(features, labels)
    rows = Rows(examples, mean(examples, CPU), block)
    return fit([rows], penalties, [None] * len(penalties), **options)


def oracle(features: Floats, labels: Ints, penalty: float) -> LogisticRegression:
    """scikit-learn, in float64 and to the end: by Newton's method, which small penalties do not slow down."""
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-9)
    return model.fit(features.astype(np.float64), labels)


def objective(model: LogisticRegression, features: Floats, labels: Ints, penalty: float) -> float:
    """What scikit-learn minimises, written out, by the mean."""
    logits = model.decision_function(features.astype(np.float64))
    if logits.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], 1)
    right = logits[np.arange(len(labels)), np.searchsorted(model.classes_, labels)]
    losses = np.logaddexp.reduce(logits, 1) - right
    return float(losses.mean() + penalty / (2 * len(labels)) * np.square(model.coef_).sum())
