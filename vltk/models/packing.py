"""Packing: the real tokens of padded sequences behind one another, so that linear layers and norms skip the padding.

B sequences, N positions, K real tokens of all of them, and some padding up to a multiple: oneDNN makes its kernels anew
for each number of rows, which took 6 % of a small model's training where it was another one in each step. Attention
alone sees (B, N, ...) again, where it has to mask the padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MULTIPLE = 32  # rows


@dataclass(frozen=True)
class Packing:
    """Where the packed tokens lie. at (K,): ascending, their numbers among all B * N positions; slots (B, N): the
    reverse, the number of each position among the K, and K at padding that is left out."""

    at: Tensor
    slots: Tensor

    @classmethod
    def of(cls, lengths: Tensor, size: int) -> Packing | None:
        """Sequences (B,) of `lengths`, padded behind to `size`; None where nothing is padded."""
        if int(lengths.min()) >= size:
            return None
        real = torch.arange(size, device=lengths.device) < lengths[:, None]
        taken = real | _first(~real, -int(lengths.sum()) % MULTIPLE)
        at = torch.arange(taken.numel(), device=taken.device)[taken.flatten()]
        slots = (taken.flatten().cumsum(0) - 1).view_as(taken)
        return cls(at, slots.masked_fill(~taken, len(at)))

    def repeated(self, times: int) -> Packing:
        """Of so many batches of these lengths, one behind the other."""
        if times == 1:
            return self
        count, padding = len(self.at), self.slots == len(self.at)
        ats = [self.at + number * self.slots.numel() for number in range(times)]
        slots = [(self.slots + number * count).masked_fill(padding, times * count) for number in range(times)]
        return Packing(torch.cat(ats), torch.cat(slots))

    def pack(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (K, D)."""
        packed: Tensor = _Pack.apply(x.flatten(0, 1), self.at, self.slots.flatten())
        return packed

    def pad(self, x: Tensor) -> Tensor:
        """(K, D) -> (B, N, D), with some token or other at padding, whose gradient is dropped."""
        padded: Tensor = _Pad.apply(x, self.at, self.slots.flatten())
        return padded.view(*self.slots.shape, x.shape[-1])

    def numbers(self, index: Tensor) -> Tensor:
        """Positions (B, R) of each sequence -> their numbers among the K; of some token or other at padding."""
        return self.slots.gather(1, index).clamp(max=len(self.at) - 1)


def _first(places: Tensor, count: int) -> Tensor:
    """The first `count` of these places, or all of them."""
    return places & (places.flatten().cumsum(0) <= count).view_as(places)


class _Pack(torch.autograd.Function):
    """No row is taken twice, so backward puts each back, where torch's own would add them up one by one."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, at: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        return rows.index_select(0, at)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slots,) = ctx.saved_tensors
        return torch.cat([gradient, gradient.new_zeros(1, gradient.shape[1])]).index_select(0, slots), None, None


class _Pad(torch.autograd.Function):
    """The reverse, but for the padding."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, at: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        return rows.index_select(0, slots.clamp(max=len(rows) - 1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (at,) = ctx.saved_tensors
        return gradient.index_select(0, at), None, None
