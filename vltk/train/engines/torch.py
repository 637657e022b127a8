"""Plain torch: one process, or several that each sum the gradients of the towers that took part in the step.

Not DistributedDataParallel, which trips on towers that are idle in a step.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vltk import dist
from vltk.checkpoint import Piece, shared
from vltk.recipe import Optimizer
from vltk.train.engines._memory import keep_freed
from vltk.train.engines._scale import LOW, LossScale, Precision
from vltk.train.engines._state import Source, agree, blocks, check, read_into, sum_gradients, weights
from vltk.train.optim import MOMENTS, Group, TowerAdamW, clip_


class Torch:
    """fp32 weights and moments on every rank; bf16 and fp16 are autocast."""

    def __init__(self, module: nn.Module, groups: Sequence[Group], options: Optimizer, precision: Precision) -> None:
        self.device = dist.device()
        keep_freed(self.device)
        self.module = module.to(self.device)
        self._groups, self._clip, self._low = groups, options.clip, LOW.get(precision)
        self.scale = LossScale(dynamic=precision == "fp16")
        self._optimizer = TowerAdamW(groups, options)
        agree(self.module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward."""
        with torch.autocast(self.device.type, self._low, enabled=self._low is not None):
            return self.module(*args, **kwargs)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of `loss`, which is divided by the counts of the whole step already."""
        (loss * self.scale.value).backward()

    def step(self, lr: float, stream: str, number: int = 0, weight_decay: float | None = None) -> float:
        """One step of the towers that `stream` trains; returns the norm of their gradient before clipping.

        number: which step of the run it is; weight_decay: that of this step, where it is not the recipe's throughout.
        Where that norm is not finite nothing changes but the loss scale. Gradients are cleared either way.
        """
        active = [p for group in self._groups if group.takes_part(stream, number) for p in group.parameters.values()]
        sum_gradients(active)
        self.scale.undo(active)
        norm = clip_(active, self._clip)
        self.scale.update(math.isfinite(norm))
        if math.isfinite(norm):
            self._optimizer.activate(stream, lr, number, weight_decay)
            self._optimizer.step()
        for _, parameter in self._optimised():  # zero_grad walks through all modules first
            parameter.grad = None
        return norm

    def pieces(self) -> Iterator[Piece]:
        """This rank's part of a checkpoint: weights, moments and step counts by parameter name."""
        every = [("weights", name, tensor) for name, tensor in weights(self.module)]
        for name, parameter in self._optimised():
            held = self._optimizer.state.get(parameter, {})
            every += [("steps" if key == "step" else key, name, value) for key, value in held.items()]
        return shared(every, dist.rank(), dist.world())

    def load(self, source: Source) -> None:
        """The reverse of `pieces`, of either engine and any number of ranks; every rank reads for itself."""
        steps = check(source, self.module, self._groups)
        for name, tensor in weights(self.module):
            read_into(tensor, source, "weights", name)
        for name, parameter in self._optimised():
            self._optimizer.state.pop(parameter, None)
            if not steps[name]:
                continue
            held = self._optimizer.prepared(parameter)
            held["step"].fill_(steps[name])
            for moment in MOMENTS:
                read_into(held[moment], source, moment, name)

    def gathered(self) -> AbstractContextManager[None]:
        """Inside, the module holds its full weights on each rank; here it always does."""
        return nullcontext()

    def whole(self, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
        """The full tensors of these names, a block at a time, to be read before the next; every rank reads them all."""
        yield from blocks(self.module, names)

    def _optimised(self) -> list[tuple[str, nn.Parameter]]:
        return [item for group in self._groups for item in group.parameters.items()]
