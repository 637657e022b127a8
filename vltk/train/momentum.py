"""Replicas whose weights follow those that are trained, slowly: teachers, and the averaged weights of a run.

They lie beside the engine, in fp32 and whole on every rank, and take no gradient (design section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from vltk import dist
from vltk.checkpoint import Piece, shared
from vltk.train.engines._state import Source, differences, read_into, refuse, weights


class Replica:
    """A copy of `parts`, under the names that their tensors have in the trained module.

    momentum: the share of its own weights that it keeps in a (0-based) step, the rest is the trained ones'.
    """

    def __init__(self, parts: Mapping[str, nn.Module], momentum: Callable[[int], float]) -> None:
        self.module = deepcopy(nn.ModuleDict(parts)).float().eval().requires_grad_(False)
        self.momentum = momentum
        self._tensors = dict(weights(self.module))
        self._averaged = {name for name, _ in self.module.named_parameters()}
        self.names = frozenset(self._tensors)

    def to(self, device: torch.device) -> None:
        self.module.to(device)
        self._tensors = dict(weights(self.module))

    @torch.no_grad()
    def follow(self, trained: Mapping[str, Tensor], step: int | None = None) -> None:
        """Takes its part of some trained tensors, of which it may not know all; without a step, their very values.

        Buffers are always copied: they are counts and statistics of the weights that they stand beside.
        """
        momentum = 0.0 if step is None else self.momentum(step)
        mine = [(self._tensors[name], tensor) for name, tensor in trained.items() if name in self._averaged]
        for name in trained.keys() & self.names - self._averaged:
            self._tensors[name].copy_(trained[name])
        if mine:
            own, theirs = zip(*mine, strict=True)
            torch._foreach_lerp_(own, theirs, 1 - momentum)

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name, as they are: to be copied before the next step."""
        return dict(self._tensors)

    def pieces(self, kind: str) -> Iterator[Piece]:
        """This rank's part of a checkpoint, which knows the replica as `kind`."""
        tensors = [(kind, name, tensor) for name, tensor in self._tensors.items()]
        return shared(tensors, dist.rank(), dist.world())

    def load(self, source: Source, kind: str) -> None:
        """The reverse of `pieces`, on every rank. Raises VltkError where what was saved does not fit."""
        wanted = {name: tensor.shape for name, tensor in self._tensors.items()}
        refuse("run", differences(kind, source.shapes(kind), wanted))
        for name, tensor in self._tensors.items():
            read_into(tensor, source, kind, name)


def averaging(decay: float) -> Callable[[int], float]:
    """The momentum of averaged weights: `decay`, and less at first, when the weights still run away from their start.

    min(decay, (1 + step) / (10 + step)), as TensorFlow's ExponentialMovingAverage with num_updates.
    """
    return lambda step: min(decay, (1 + step) / (10 + step))
