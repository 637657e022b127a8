"""What a rank holds of parameters that ZeRO has cut into parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vltk.checkpoint import Piece
from vltk.train.engines._state import Source, whole_shape
from vltk.train.optim import MOMENTS


@dataclass(frozen=True)
class Part:
    """The numbers start .. start + size - 1 of a parameter and its moments, by kind: flat, zeros behind `size`."""

    shape: torch.Size
    start: int
    size: int
    numbers: Mapping[str, Tensor]

    def pieces(self, name: str, stepped: bool) -> Iterator[Piece]:
        """For a checkpoint; without moments where the parameter was never `stepped`."""
        for kind, numbers in self.numbers.items():
            if self.size and (stepped or kind not in MOMENTS):
                yield Piece(kind, name, tuple(self.shape), self.start, numbers[: self.size])

    def take(self, source: Source, kind: str, name: str) -> None:
        """Gives it the numbers that were saved."""
        if self.size:
            self.clear(kind)
            self.numbers[kind].data[: self.size].copy_(source.read(kind, name, self.start, self.start + self.size))

    def clear(self, kind: str) -> None:
        if kind in self.numbers:
            self.numbers[kind].data.zero_()


def fragment(parameter: Any) -> Part:
    """At stages 1 and 2: the flat partition of a group ends anywhere in a parameter; most ranks hold nothing of it."""
    shape, held = whole_shape(parameter), parameter._hp_mapping
    if held is None:
        return Part(shape, 0, 0, {})
    numbers = {kind: held.get_hp_fragment(kind) for kind in MOMENTS}
    where = held.lp_fragment_address
    return Part(shape, where.start, where.numel, {"weights": held.get_hp_fragment(), **numbers})


def partition(parameter: Any, zero: Any, state: Mapping[Tensor, Mapping[str, Tensor]], rank: int) -> Part:
    """At stage 3: each parameter in equal parts, the last ones padded; one that is not trained has no moments."""
    numbers, length = {"weights": parameter.ds_tensor}, parameter.ds_tensor.numel()
    if parameter.requires_grad:
        group, offset, _ = zero.grad_position[zero.get_param_id(parameter)]
        flat = zero.fp32_partitioned_groups_flat[group]
        numbers |= {kind: state[flat][kind].narrow(0, offset, length) for kind in MOMENTS}
    start = min(rank * length, parameter.ds_numel)
    return Part(whole_shape(parameter), start, min(length, parameter.ds_numel - start), numbers)
