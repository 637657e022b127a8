"""What forward keeps for backward: the activations that a step needs memory for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def kept(forward: Callable[[], object], module: nn.Module) -> int:
    """Bytes of the tensors that `forward` keeps for backward, each storage once, without the parameters of `module`.
    Where it goes backward too, a place that is freed and taken again counts once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = forward()
    del alive
    return sum(size for place, size in held.items() if place not in weights)
