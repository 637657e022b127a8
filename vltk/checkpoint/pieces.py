"""What a process writes of a checkpoint: pieces of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """The numbers from `start` on, (n,), of the flattened tensor `name` of a kind; `shape` is that of the whole one."""

    kind: str
    name: str
    shape: tuple[int, ...]
    start: int
    numbers: Tensor

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its tensor."""
        return self.start == 0 and self.numbers.numel() == torch.Size(self.shape).numel()

    @property
    def is_finite(self) -> bool:
        """Whether all of its numbers are."""
        if not self.numbers.numel() or not self.numbers.is_floating_point():
            return True
        return bool(torch.stack(self.numbers.aminmax()).isfinite().all())


def shared(tensors: Iterable[tuple[str, str, Tensor]], rank: int, world: int) -> Iterator[Piece]:
    """This rank's equal part of (kind, name, tensor) that every rank has alike, cut where the parts end."""
    every = list(tensors)
    total = sum(tensor.numel() for _, _, tensor in every)
    first, last = total * rank // world, total * (rank + 1) // world
    begin = 0
    for kind, name, tensor in every:
        start, stop = max(first - begin, 0), min(last - begin, tensor.numel())
        if start < stop or (tensor.numel() == 0 and rank == 0):
            yield Piece(kind, name, tuple(tensor.shape), start, tensor.detach().reshape(-1)[start:stop])
        begin += tensor.numel()


def snapshot(pieces: Iterable[Piece]) -> list[Piece]:
    """Copies that training cannot change any more: on the CPU, floating point as fp32."""
    return [replace(piece, numbers=_copy(piece.numbers)) for piece in pieces]


def _copy(numbers: Tensor) -> Tensor:
    dtype = torch.float32 if numbers.is_floating_point() else numbers.dtype
    return numbers.detach().to("cpu", dtype, copy=True).contiguous()
