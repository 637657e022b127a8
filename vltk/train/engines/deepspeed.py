"""DeepSpeed, ZeRO stages 0 to 3, with the arithmetic of the torch engine.

Three things DeepSpeed does otherwise are put right here: gradients are summed, not averaged; towers without part in a
step are left alone (`TowerAdamW`); and at stage 3, where the gradient of an earlier step stays in the partition of a
parameter that gets no new one, gradients are cleared after each step, so that neither norm nor update meets them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vltk import dist
from vltk.errors import VltkError
from vltk.recipe import Optimizer
from vltk.train.engines._deepspeed import deepspeed, deepspeed_utils, join, settings, stage, tamed
from vltk.train.engines._state import (
    State,
    blocks,
    check,
    empty_state,
    keep,
    tensor_from_main,
    weights,
    whole_shape,
)
from vltk.train.optim import MOMENTS, Group, TowerAdamW, clip_


class DeepSpeed:
    """fp32 weights and moments, in parts as `config["zero_optimization"]["stage"]` says; bf16 is autocast."""

    def __init__(
        self,
        module: nn.Module,
        groups: Sequence[Group],
        options: Optimizer,
        precision: Literal["fp32", "bf16"],
        config: Mapping[str, Any],
    ) -> None:
        self._stage = stage(config)
        self.device = dist.device()
        self.module = module.to(self.device)
        self._groups, self._clip = groups, options.clip
        configured = settings(config, options.clip if self._stage else None, precision)
        join()
        self._optimizer = TowerAdamW(groups, options)
        with tamed(module):
            self._engine, *_ = deepspeed.initialize(
                model=module, optimizer=self._optimizer, config=configured, dist_init_required=False
            )
        self._flats = self._partitions()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward."""
        return self._engine(*args, **kwargs)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of `loss`, which is divided by the counts of the whole step already."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss * dist.world())  # DeepSpeed averages over ranks

    def step(self, lr: float, stream: str, number: int = 0, weight_decay: float | None = None) -> float:
        """One step of the towers that `stream` trains; returns the norm of their gradient before clipping.

        number: which step of the run it is; weight_decay: that of this step, where it is not the recipe's throughout.
        Where that norm is not finite nothing changes. Gradients are cleared either way.
        """
        self._optimizer.activate(stream, lr, number, weight_decay)
        active = [p for group in self._groups if group.takes_part(stream, number) for p in group.parameters.values()]
        if self._stage == 0:
            return self._step_whole(active)
        self._engine.step()
        if self._stage == 3:
            _forget_gradients(active)
        return float(self._engine.get_global_grad_norm())

    def state(self) -> State:
        """Weights, moments and step counts by parameter name, on the main process; other ranks get it empty."""
        state = empty_state()
        for name, tensor in weights(self.module):
            with self._whole([tensor]):
                keep(state["weights"], name, tensor)
        for group in self._groups:
            steps = self._optimizer.state[self._flats[group.name][0]]["step"]
            if steps == 0:
                continue
            for name, parameter in group.parameters.items():
                keep(state["steps"], name, steps)
                for moment in MOMENTS:
                    keep(state[moment], name, self._moment(parameter, moment))
        return state

    def load(self, state: State) -> None:
        """The reverse of `state`, of either engine; only what the main process passes is read."""
        state = empty_state() | state
        counts = self._counts(check(state, self.module, self._groups))
        self._set_weights(state["weights"])
        for group in self._groups:
            for flat in self._flats[group.name]:
                self._optimizer.state[flat]["step"].fill_(counts[group.name])
            for name, parameter in group.parameters.items():
                for moment in MOMENTS:
                    self._set_moment(parameter, moment, state[moment].get(name) if counts[group.name] else None)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, the module holds its full weights on each rank and may be called on any of them, without gradient."""
        if self._stage < 3:
            yield
            return
        offload = self._engine.optimizer.parameter_offload
        with self._whole(list(self.module.parameters())):
            offload._remove_module_hooks()  # each forward would part the weights again, and wait for the other ranks
            offload.forward_hooks.clear()
            offload.backward_hooks.clear()
            try:
                yield
            finally:
                offload.setup_zero_stage3_hooks()

    def whole(self, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
        """The full tensors of these names, a block at a time, to be read before the next; every rank reads them all."""
        for block in blocks(self.module, names):
            with self._whole(list(block.values())):
                yield block

    def _step_whole(self, active: list[nn.Parameter]) -> float:
        """Stage 0: DeepSpeed would clip by the norm, but neither return it nor look whether it is finite."""
        norm = clip_(active, self._clip)
        if math.isfinite(norm):
            self._engine.step()
        else:
            self._engine.zero_grad()
        return norm

    def _partitions(self) -> dict[str, list[Tensor]]:
        """By group: the tensors that the optimizer steps, each with its AdamW state made and known to DeepSpeed."""
        if self._stage == 3:
            zero = self._engine.optimizer
            flats: dict[str, list[Tensor]] = {group.name: [] for group in self._groups}
            for number, flat in enumerate(zero.fp32_partitioned_groups_flat):
                flats[self._groups[zero.sub_group_to_group_id[number]].name].append(flat)
        else:
            flats = {group["name"]: list(group["params"]) for group in self._optimizer.param_groups}
        for flat in (flat for some in flats.values() for flat in some):
            self._optimizer.prepared(flat)
        if self._stage in (1, 2):
            self._engine.optimizer._lazy_init_hp_params_optimizer_state()  # it looks once, in the first step, too early
        return flats

    def _counts(self, steps: Mapping[str, float]) -> dict[str, float]:
        """By group, how often it was stepped: DeepSpeed keeps one count for all its parameters."""
        counts = {}
        for group in self._groups:
            found = {steps[name] for name in group.parameters}
            if len(found) > 1:
                raise VltkError(
                    f"the parameters of {group.name} were stepped {sorted(found)} times, but DeepSpeed keeps one count "
                    "for all of them; go on without the recipe's key `deepspeed`, or start anew from the weights"
                )
            counts[group.name] = found.pop()
        return counts

    def _moment(self, parameter: nn.Parameter, moment: str) -> Tensor:
        """The whole moment of a parameter; every rank takes part."""
        if self._stage == 0:
            return self._optimizer.state[parameter][moment]
        return deepspeed_utils.safe_get_full_optimizer_state(parameter, moment)

    def _set_moment(self, parameter: nn.Parameter, moment: str, value: Tensor | None) -> None:
        """Each rank takes its part of the moment; None on the main process stands for zeros."""
        shape = whole_shape(parameter)
        if value is None and dist.is_main():
            value = torch.zeros(shape)
        whole = tensor_from_main(value, shape, parameter)
        if self._stage == 0:
            self._optimizer.state[parameter][moment].copy_(whole)
        elif self._stage < 3:
            deepspeed_utils.safe_set_full_optimizer_state(parameter, whole, moment)
        else:
            deepspeed_utils.safe_set_local_optimizer_state(parameter, _part(parameter, whole), moment)

    def _set_weights(self, values: Mapping[str, Tensor]) -> None:
        """Each rank takes its part of the weights, and the whole buffers."""
        if self._stage == 3:
            self._engine.optimizer.parameter_offload.partition_all_parameters()
        for name, tensor in weights(self.module):
            whole = tensor_from_main(values.get(name), whole_shape(tensor), tensor)
            if hasattr(tensor, "ds_tensor"):
                tensor.ds_tensor.data.copy_(_part(tensor, whole))
            else:
                tensor.data.copy_(whole)
        if self._stage:
            self._engine.optimizer.refresh_fp32_params()

    def _whole(self, tensors: list[Any]) -> AbstractContextManager[Any]:
        """Inside, parameters have their full values, to be read."""
        return deepspeed.zero.GatheredParameters(tensors) if self._stage == 3 else nullcontext()


def _part(parameter: Any, whole: Tensor) -> Tensor:
    """This rank's share of a parameter at stage 3: equal parts, the last ones padded."""
    size = parameter.ds_tensor.numel()
    padded = nn.functional.pad(whole.flatten(), (0, size * dist.world() - whole.numel()))
    return padded.narrow(0, size * dist.rank(), size)


def _forget_gradients(parameters: Sequence[Any]) -> None:
    """Clears this rank's part of gradients at stage 3, which DeepSpeed keeps until a new one overwrites it."""
    for parameter in parameters:
        deepspeed_utils.safe_set_local_grad(parameter, torch.zeros_like(parameter.ds_tensor))
