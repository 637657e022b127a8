"""What "the same" means of a step that is computed in two ways, in fp32."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

LOSS, GRADIENT = 1e-6, 1e-5  # relative to the loss, and to the norm of each gradient
ZERO = 1e-7  # norm of a gradient that is zero but for rounding


def assert_same_losses(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Each within LOSS of itself."""
    assert found.keys() == wanted.keys()
    for name, loss in wanted.items():
        assert abs(found[name] - loss) <= LOSS * abs(loss), name


def assert_same_gradients(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Each within GRADIENT of its norm; what is zero in the one is so in the other."""
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        if gradient.norm() < ZERO:
            assert found[name].norm() < ZERO, name
        else:
            assert (found[name] - gradient).norm() <= GRADIENT * gradient.norm(), name
