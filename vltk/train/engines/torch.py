"""Plain torch: one process, or several that each sum the gradients of the towers that took part in the step.

Not DistributedDataParallel, which trips on towers that are idle in a step.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vltk import dist
from vltk.recipe import Optimizer
from vltk.train.engines._state import (
    State,
    agree,
    blocks,
    check,
    empty_state,
    keep,
    sum_gradients,
    tensor_from_main,
    weights,
)
from vltk.train.optim import MOMENTS, Group, TowerAdamW, clip_


class Torch:
    """fp32 weights and moments on every rank; bf16 is autocast."""

    def __init__(
        self, module: nn.Module, groups: Sequence[Group], options: Optimizer, precision: Literal["fp32", "bf16"]
    ) -> None:
        self.device = dist.device()
        self.module = module.to(self.device)
        self._groups, self._clip, self._bf16 = groups, options.clip, precision == "bf16"
        self._optimizer = TowerAdamW(groups, options)
        agree(self.module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            return self.module(*args, **kwargs)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of `loss`, which is divided by the counts of the whole step already."""
        loss.backward()

    def step(self, lr: float, stream: str, number: int = 0, weight_decay: float | None = None) -> float:
        """One step of the towers that `stream` trains; returns the norm of their gradient before clipping.

        number: which step of the run it is; weight_decay: that of this step, where it is not the recipe's throughout.
        Where that norm is not finite nothing changes. Gradients are cleared either way.
        """
        active = [p for group in self._groups if group.takes_part(stream, number) for p in group.parameters.values()]
        sum_gradients(active)
        norm = clip_(active, self._clip)
        if math.isfinite(norm):
            self._optimizer.activate(stream, lr, number, weight_decay)
            self._optimizer.step()
        self.module.zero_grad(set_to_none=True)
        return norm

    def state(self) -> State:
        """Weights, moments and step counts by parameter name, on the main process; other ranks get it empty."""
        state = empty_state()
        for name, tensor in weights(self.module):
            keep(state["weights"], name, tensor)
        for name, parameter in self._optimised():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                keep(state["steps" if key == "step" else key], name, value)
        return state

    def load(self, state: State) -> None:
        """The reverse of `state`, of either engine; only what the main process passes is read."""
        state = empty_state() | state
        steps = check(state, self.module, self._groups)
        for name, tensor in weights(self.module):
            tensor.data.copy_(tensor_from_main(state["weights"].get(name), tensor.shape, tensor))
        for name, parameter in self._optimised():
            self._optimizer.state.pop(parameter, None)
            if not steps[name]:
                continue
            held = self._optimizer.prepared(parameter)
            held["step"].fill_(steps[name])
            for moment in MOMENTS:
                held[moment].copy_(tensor_from_main(state[moment].get(name), parameter.shape, parameter))

    def gathered(self) -> AbstractContextManager[None]:
        """Inside, the module holds its full weights on each rank; here it always does."""
        return nullcontext()

    def whole(self, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
        """The full tensors of these names, a block at a time, to be read before the next; every rank reads them all."""
        yield from blocks(self.module, names)

    def _optimised(self) -> list[tuple[str, nn.Parameter]]:
        return [item for group in self._groups for item in group.parameters.items()]
