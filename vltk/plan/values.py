"""The values of those tensors of a rehearsal that decide how large others are: masks, lengths, numbers of tokens.

Tensors of shapes alone do not know how many patches a mask hides, and every encoder and head runs over just so many.
So whole numbers and flags that follow from the views of a batch are computed beside their shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

_aten = torch.ops.aten
_FILLED = {  # made like another tensor, whose values do not matter
    _aten.new_zeros.default: 0,
    _aten.zeros_like.default: 0,
    _aten.new_ones.default: 1,
    _aten.ones_like.default: 1,
}
UNKNOWN = 1  # what a number is taken for that follows from no view


class Values:
    """Whole numbers and flags by the tensor of shapes alone that stands for them."""

    def __init__(self) -> None:
        self._known = WeakTensorKeyDictionary()

    def know(self, shapes: Tensor, value: Tensor) -> None:
        """`value` is what `shapes` stands for."""
        self._known[shapes] = value

    def number(self, tensor: Tensor) -> Any:
        """That of a tensor with one element."""
        with _disable_current_modes():
            return self._known[tensor].item() if tensor in self._known else UNKNOWN

    def rows(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The indices, each mask replaced by as many rows as it picks: all, where its values are not known."""
        found: list[Tensor | None] = []
        for index in indices:
            if index is None or index.dtype != torch.bool:
                found.append(index)
                continue
            found += [index.new_zeros(self._picked(index), dtype=torch.long)] * index.dim()
        return found

    def _picked(self, mask: Tensor) -> int:
        with _disable_current_modes():
            return int(self._known[mask].sum()) if mask in self._known else mask.numel()

    def follow(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], made: Any) -> None:
        """Computes what an operation has made from tensors whose values are known."""
        shapes = [tensor for tensor in tree_leaves(made) if isinstance(tensor, Tensor)]
        if not shapes or any(tensor.is_floating_point() for tensor in shapes):
            return
        with _disable_current_modes():
            if func in _FILLED:
                self.know(made, torch.full(made.shape, _FILLED[func], dtype=made.dtype))
            elif all(tensor in self._known for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)):
                real, named = tree_map_only(Tensor, self._known.__getitem__, (tuple(args), dict(kwargs)))
                for tensor, value in zip(shapes, tree_leaves(func(*real, **named)), strict=True):
                    self.know(tensor, value)
