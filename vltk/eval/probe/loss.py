"""The penalised cross-entropy and its gradient for several models in one pass over the rows.

mean cross-entropy + penalty / (2 N) * |W|^2, the bias free: scikit-learn's LogisticRegression with C = 1 / penalty.
Products are fp32 (not TF32), sums over rows and blocks float64, so that the size of a block does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vltk.eval.probe.examples import Ints
from vltk.eval.probe.rows import Rows

FAINT = -60.0  # below the largest logit: nothing in any sum, and products with numbers below 1e-38 are slow


@dataclass(frozen=True)
class Objective:
    """The mean loss over all rows of `parts`, for the classes (C,) by their numbers."""

    parts: Sequence[Rows]
    classes: Ints

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.parts)

    def strength(self, penalty: float) -> float:
        """The weight of |W|^2 / 2. Two columns share what scikit-learn gives to one vector: twice the penalty each."""
        return penalty / len(self) * (2 if len(self.classes) == 2 else 1)

    def cross_entropy(self, weights: Tensor, biases: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """weights (L, C, D), biases (L, C) -> values (L,) and gradients (L, C, D), (L, C), all float64."""
        models, classes, width = weights.shape
        stacked, shifts = weights.reshape(-1, width).float(), biases.reshape(-1, 1).float()
        known = torch.from_numpy(self.classes).to(weights.device)
        value = weights.new_zeros(models)
        to_weights, to_biases = weights.new_zeros(models * classes, width), weights.new_zeros(models * classes)
        with exact_products():
            for rows in self.parts:
                for x, y in rows:
                    logits = torch.addmm(shifts, stacked, x.T)  # (L C, b)
                    value += _losses(logits.view(models, classes, -1), torch.searchsorted(known, y))
                    to_weights += logits @ x
                    to_biases += logits.sum(1, dtype=torch.float64)
        size = len(self)
        return value / size, to_weights.view(weights.shape) / size, to_biases.view(biases.shape) / size


def right(parts: Sequence[Rows], classes: Sequence[Ints], weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Ints:
    """For each of L models the rows whose class it finds: weights (C, D), biases (C,), classes (C,) of each."""
    found = np.zeros(len(weights), np.int64)
    with exact_products():
        for rows in parts:
            for x, y in rows:
                for index, (own, weight, bias) in enumerate(zip(classes, weights, biases, strict=True)):
                    found[index] += int((predicted(x, own, weight, bias) == y).sum())
    return found


def predicted(x: Tensor, classes: Ints, weight: Tensor, bias: Tensor) -> Tensor:
    """x (b, D), centred as for the fit -> (b,) class numbers; of equal logits the first class."""
    places = torch.addmm(bias.float()[:, None], weight.float(), x.T).argmax(0)
    return torch.from_numpy(classes).to(x.device)[places]


def margins(x: Tensor, y: Tensor, classes: Ints, weight: Tensor, bias: Tensor) -> Tensor:
    """x (b, D), centred as for the fit, y (b,) -> (b,) the logit of the right class minus the largest other one; minus
    infinity for a class that the fit does not know."""
    logits = torch.addmm(bias.float()[:, None], weight.float(), x.T)  # (C, b)
    own = torch.from_numpy(classes).to(x.device)[:, None] == y
    right_ones = logits.masked_fill(~own, -torch.inf).amax(0)
    return right_ones - logits.masked_fill(own, -torch.inf).amax(0)


@contextmanager
def exact_products() -> Iterator[None]:
    """fp32 matrix products, whatever the training that calls this has chosen for its own."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _losses(logits: Tensor, places: Tensor) -> Tensor:
    """logits (L, C, b), places (b,) of the right class -> sums (L,) float64; the logits become softmax - one-hot.

    What the wrong classes take is summed by itself: 1 - p would leave nothing of it where the right one is sure.
    """
    right_places = places.expand(len(logits), 1, -1)
    logits -= logits.amax(1, keepdim=True)
    chosen = logits.gather(1, right_places)
    logits.clamp_(min=FAINT).exp_().scatter_(1, right_places, 0.0)
    wrong = logits.sum(1, keepdim=True)
    totals = wrong + chosen.exp()
    losses = torch.log1p(wrong + (chosen.exp() - 1)) - chosen
    logits.scatter_(1, right_places, -wrong)
    logits /= totals
    return losses.sum((1, 2), dtype=torch.float64)
