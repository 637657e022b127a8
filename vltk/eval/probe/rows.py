"""Examples as the solver passes over them: centred float32 blocks on a device, kept there where they fit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vltk.eval.probe.examples import Examples, Ints

BLOCK = {"cpu": 2048, "cuda": 32768}  # rows: on a CPU a block and its logits stay in the cache
DEFAULT_ROOM = 2 << 30  # bytes, where the system does not say how much memory is free

Block = tuple[Tensor, Tensor]  # x (b, D) float32, y (b,) class numbers


class Rows:
    """Examples in blocks of (x - centre) and labels. What does not fit in half of the free memory is read at each pass.

    The centre changes neither the minimum nor the penalty, as the bias is free; it makes the problem well conditioned.
    """

    def __init__(self, examples: Examples, centre: Tensor, block: int | None = None, keep: bool = True) -> None:
        self.examples, self.centre = examples, centre  # (D,) float64, on the device of the fit
        self.block = block or BLOCK.get(centre.device.type, BLOCK["cpu"])
        self._centre = centre.float()
        fits = keep and 4 * len(examples) * examples.width <= _room(centre.device)
        self._kept = list(self._read()) if fits else None

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Block]:
        return self._read() if self._kept is None else iter(self._kept)

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Sums over all rows: of x (D,), and of x x^T (D, D), float64."""
        width = self.examples.width
        total, products = self.centre.new_zeros(width), self.centre.new_zeros(width, width)
        for x, _ in self:
            total += x.sum(0, dtype=torch.float64)
            products += x.T @ x
        return total, products

    @cached_property
    def classes(self) -> Ints:
        """The class numbers that occur, sorted."""
        return np.unique(self.examples.numbers)

    def _read(self) -> Iterator[Block]:
        labels = torch.from_numpy(self.examples.numbers)
        device = self.centre.device
        for first, features in self.examples.blocks(self.block):
            x = torch.from_numpy(np.require(features, requirements="W")).to(device) - self._centre
            yield x, labels[first : first + len(x)].to(device)


def mean(examples: Examples, device: torch.device) -> Tensor:
    """(D,) float64."""
    total = np.zeros(examples.width)
    for _, block in examples.blocks(BLOCK["cpu"]):
        total += block.sum(0, dtype=np.float64)
    return torch.from_numpy(total / len(examples)).to(device)


def _room(device: torch.device) -> int:
    """Half of the free bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 2)
    if "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return DEFAULT_ROOM
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
