"""The change of variables in which a logistic regression on correlated features is well conditioned.

The Hessian of the mean cross-entropy by the weights of C classes is at most 1/2 of the features' covariance (Boehning
1992), and 1/C of it at zero, where searches start. In the covariance's eigenvectors that plus the penalty is diagonal,
for every penalty. The change of variables leaves the minimum where it is; standardising the features would move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vltk.eval.probe.rows import Rows

FLOOR = 1e-8  # of the largest eigenvalue: below it, products in fp32 leave noise


@dataclass(frozen=True)
class Covariance:
    """Eigenvectors (D, D) in columns and eigenvalues (D,) of the covariance of the rows, float64."""

    vectors: Tensor
    values: Tensor

    @classmethod
    def of(cls, parts: Sequence[Rows]) -> Covariance:
        size = sum(len(rows) for rows in parts)
        total = torch.stack([rows.moments[0] for rows in parts]).sum(0) / size
        products = torch.stack([rows.moments[1] for rows in parts]).sum(0) / size
        values, vectors = torch.linalg.eigh(products - torch.outer(total, total))
        return cls(vectors, values.clamp(min=0))

    def scales(self, strength: float, classes: int) -> Tensor:
        """(D + 1,): what a step of 1 in each new variable, and in the bias, is worth."""
        curvature = self.values / classes + strength
        floor = FLOOR * float(curvature.max())
        return torch.cat([curvature.clamp(min=floor), curvature.new_tensor([1 / classes])]).rsqrt()

    def turned(self, weights: Tensor) -> Tensor:
        """(..., D) in features -> (..., D) along the eigenvectors."""
        return weights @ self.vectors

    def straight(self, weights: Tensor) -> Tensor:
        """(..., D) along the eigenvectors -> (..., D) in features."""
        return weights @ self.vectors.T
