"""Captions in the making: what a decoder keeps of the images, seen once, and of the tokens written so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vltk.models.grounded import Memory, taken
from vltk.models.layers import KeyValue


@dataclass(frozen=True)
class _Layout:
    """Which of R rows stand beside each of I images: `rows` (I, m), an image that has fewer is filled up with row 0;
    `slots` (R,) the place of each row at its image; None where rows lie image by image already, m of each."""

    count: int
    rows: Tensor | None
    slots: Tensor | None

    @classmethod
    def of(cls, image_of: Tensor, images: int) -> _Layout:
        counts = torch.bincount(image_of, minlength=images)
        most = int(counts.max())
        even = torch.arange(images, device=image_of.device).repeat_interleave(most)
        if torch.equal(even, image_of):
            return cls(most, None, None)
        order = image_of.argsort(stable=True)
        first = counts.cumsum(0) - counts
        slots = torch.empty_like(image_of)
        slots[order] = torch.arange(len(order), device=order.device) - first[image_of[order]]
        rows = torch.zeros(images, most, dtype=torch.long, device=image_of.device)
        rows[image_of, slots] = torch.arange(len(order), device=order.device)
        return cls(most, rows, slots)


class Captions:
    """R captions over I images: `memory` of the images, which of them each row is about, and the rows' own tokens.

    Keys and values of an image are never copied a row: the rows of an image ask them together. They are laid out once
    as products read them, which would else lay them out anew for every token.
    """

    def __init__(self, memory: Memory, image_of: Tensor, past: list[KeyValue] | None = None) -> None:
        self.memory = [(key.contiguous(), value.contiguous()) for key, value in memory]
        self.image_of, self.past = image_of, past
        self._layout = _Layout.of(image_of, len(memory[0][0]))

    def __len__(self) -> int:
        return len(self.image_of)

    def take(self, rows: Tensor) -> Captions:
        """The captions of these row numbers (R',), in any order and as often as they are named.

        Images that no row is about any more are let go.
        """
        image_of, memory = self.image_of[rows], self.memory
        present, renumbered = image_of.unique(return_inverse=True)
        if len(present) < len(memory[0][0]):
            image_of, memory = renumbered, taken(memory, present)
        past = None if self.past is None else [(key[rows], value[rows]) for key, value in self.past]
        return Captions(memory, image_of, past)

    def look(self, half: Any, x: Tensor, layer: int) -> Tensor:
        """The second half of a block: x (R, n, D) -> (R, n, D), each row beside its image."""
        layout, image = self._layout, self.memory[layer]
        if layout.rows is None:
            return half(x.reshape(len(image[0]), -1, x.shape[-1]), image).view(x.shape)
        together = half(x[layout.rows].flatten(1, 2), image)  # (I, m * n, D)
        return together.unflatten(1, (layout.count, -1))[self.image_of, layout.slots]
