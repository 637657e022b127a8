"""DeepSpeed, ZeRO stages 0 to 3, with the arithmetic of the torch engine.

Three things that DeepSpeed does otherwise are put right here: gradients are summed, not averaged; towers without part
in a step are left alone (`TowerAdamW`); and at stage 3, where the gradient of an earlier step stays in the partition of
a parameter that gets no new one, gradients are cleared after each step, so that neither norm nor update meets them.
Stage 3 also learns the order of modules, to fetch their weights ahead: here once for each stream (`_orders.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vltk import dist
from vltk.checkpoint import Piece, shared
from vltk.errors import VltkError
from vltk.recipe import Optimizer
from vltk.train.engines._deepspeed import deepspeed, deepspeed_utils, join, scale_outside, tamed
from vltk.train.engines._mapping import settings, stage
from vltk.train.engines._memory import keep_freed
from vltk.train.engines._orders import Orders
from vltk.train.engines._parts import Part, fragment, partition
from vltk.train.engines._scale import LossScale, Precision
from vltk.train.engines._state import Source, blocks, check, read_into, weights
from vltk.train.optim import MOMENTS, Group, TowerAdamW, clip_


class DeepSpeed:
    """fp32 weights and moments, in parts as `config["zero_optimization"]["stage"]` says; bf16 and fp16 are autocast."""

    def __init__(
        self,
        module: nn.Module,
        groups: Sequence[Group],
        options: Optimizer,
        precision: Precision,
        config: Mapping[str, Any],
    ) -> None:
        self._stage = stage(config)
        self.device = dist.device()
        keep_freed(self.device)
        self.module = module.to(self.device)
        self._groups, self._clip = groups, options.clip
        self.scale = LossScale(dynamic=precision == "fp16")
        configured = settings(config, options.clip if self._stage else None, precision)
        join()
        self._optimizer = TowerAdamW(groups, options)
        with tamed(module):
            self._engine, *_ = deepspeed.initialize(
                model=module, optimizer=self._optimizer, config=configured, dist_init_required=False
            )
        scale_outside(self._engine)
        self._orders = Orders(module, self._engine.optimizer.parameter_offload) if self._stage == 3 else None
        self._flats = self._partitions()

    def __call__(self, stream: str, *args: Any, **kwargs: Any) -> Any:
        """The module's forward for a batch of `stream`."""
        if self._orders is not None:
            self._orders.choose((stream, torch.is_grad_enabled(), *sorted(kwargs.items())))
        return self._engine(stream, *args, **kwargs)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of `loss`, which is divided by the counts of the whole step already."""
        self._engine.set_gradient_accumulation_boundary(last)
        loss = loss * dist.world()  # DeepSpeed averages over ranks
        if self._stage:
            self._engine.optimizer.loss_scale = self.scale.value
            self._engine.backward(loss)
        else:
            self._engine.backward(loss * self.scale.value)

    def step(self, lr: float, stream: str, number: int = 0, weight_decay: float | None = None) -> float:
        """One step of the towers that `stream` trains; returns the norm of their gradient before clipping.

        number: which step of the run it is; weight_decay: that of this step, where it is not the recipe's throughout.
        Where that norm is not finite nothing changes but the loss scale. Gradients are cleared either way.
        """
        self._optimizer.activate(stream, lr, number, weight_decay)
        active = [p for group in self._groups if group.takes_part(stream, number) for p in group.parameters.values()]
        norm = self._step_parts(active) if self._stage else self._step_whole(active)
        self.scale.update(math.isfinite(norm))
        return norm

    def pieces(self) -> Iterator[Piece]:
        """This rank's part of a checkpoint: what it alone holds, and its share of what all ranks hold."""
        held = self._held()
        stepped = {name: count for group in self._groups if (count := self._count(group)) for name in group.parameters}
        alike = [("weights", name, tensor) for name, tensor in weights(self.module) if name not in held]
        alike += [("steps", name, count) for name, count in stepped.items()]
        for name, parameter in self._optimised():
            if name in stepped and name not in held:
                alike += [(moment, name, self._optimizer.state[parameter][moment]) for moment in MOMENTS]
        yield from shared(alike, dist.rank(), dist.world())
        for name, part in held.items():
            yield from part.pieces(name, name in stepped)

    def load(self, source: Source) -> None:
        """The reverse of `pieces`, of either engine and any number of ranks; every rank reads for itself."""
        counts = self._counts(check(source, self.module, self._groups))
        self._load_weights(source)
        held = self._held()
        for group in self._groups:
            for flat in self._flats[group.name]:
                self._optimizer.state[flat]["step"].fill_(counts[group.name])
                for moment in MOMENTS:
                    self._optimizer.state[flat][moment].zero_()
            for name, parameter in group.parameters.items() if counts[group.name] else ():
                for moment in MOMENTS:
                    if name in held:
                        held[name].take(source, moment, name)
                    else:
                        read_into(self._optimizer.state[parameter][moment], source, moment, name)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, the module holds its full weights on each rank and may be called on any of them, without gradient."""
        if self._orders is None:
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
                self._orders.forget()  # the modules' hooks are made anew
                offload.setup_zero_stage3_hooks()

    def whole(self, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
        """The full tensors of these names, a block at a time, to be read before the next; every rank reads them all."""
        for block in blocks(self.module, names):
            with self._whole(list(block.values())):
                yield block

    def _step_whole(self, active: list[nn.Parameter]) -> float:
        """Stage 0: DeepSpeed would clip by the norm, but neither return it nor look whether it is finite."""
        self.scale.undo(active)
        norm = clip_(active, self._clip)
        if math.isfinite(norm):
            self._engine.step()
        else:
            self._engine.zero_grad()
        return norm

    def _step_parts(self, active: list[nn.Parameter]) -> float:
        """Stages 1 to 3: DeepSpeed divides by the scale where it clips, and leaves a norm out that is not finite."""
        self._engine.step()
        if self._stage == 3:
            _forget_gradients(active)
        return float(self._engine.get_global_grad_norm())

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

    def _held(self) -> dict[str, Part]:
        """By name, what this rank alone holds of the parameters that are cut into parts."""
        if self._stage == 3:
            state, zero = self._optimizer.state, self._engine.optimizer
            return {name: partition(p, zero, state, dist.rank()) for name, p in self.module.named_parameters()}
        return {name: fragment(p) for name, p in self._optimised()} if self._stage else {}

    def _load_weights(self, source: Source) -> None:
        """Each rank takes its part of the weights at stage 3, else all of them, and the whole buffers."""
        zero = self._engine.optimizer
        if self._stage == 3:
            zero.parameter_offload.partition_all_parameters()
        held = self._held() if self._stage == 3 else {}
        for name, tensor in weights(self.module):
            if name in held:
                held[name].take(source, "weights", name)
            else:
                read_into(tensor, source, "weights", name)
        if self._stage:
            zero.refresh_fp32_params()

    def _optimised(self) -> list[tuple[str, nn.Parameter]]:
        return [item for group in self._groups for item in group.parameters.items()]

    def _count(self, group: Group) -> Tensor:
        """How often a group was stepped."""
        count: Tensor = self._optimizer.state[self._flats[group.name][0]]["step"]
        return count

    def _whole(self, tensors: list[Any]) -> AbstractContextManager[Any]:
        """Inside, parameters have their full values, to be read."""
        return deepspeed.zero.GatheredParameters(tensors) if self._stage == 3 else nullcontext()


def _forget_gradients(parameters: Sequence[Any]) -> None:
    """Clears this rank's part of gradients at stage 3, which DeepSpeed keeps until a new one overwrites it."""
    for parameter in parameters:
        deepspeed_utils.safe_set_local_grad(parameter, torch.zeros_like(parameter.ds_tensor))
