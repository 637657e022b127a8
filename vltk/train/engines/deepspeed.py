"""DeepSpeed, ZeRO stages 0 to 3, with the arithmetic of the torch engine.

Three things DeepSpeed does otherwise are put right here: gradients are summed, not averaged; towers without part in a
step are left alone (`TowerAdamW`); and at stage 3, where the gradient of an earlier step stays in the partition of a
parameter that gets no new one, gradients are cleared after each step, so that neither norm nor update meets them.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any, Literal
from unittest.mock import patch

import torch
import torch.distributed as torch_dist
from torch import Tensor, nn

from vltk import dist
from vltk.errors import RecipeError, VltkError
from vltk.recipe import Optimizer
from vltk.train.engines._state import (
    State,
    agree,
    check,
    empty_state,
    keep,
    tensor_from_main,
    weights,
    whole_shape,
)
from vltk.train.optim import MOMENTS, Group, TowerAdamW, clip_

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")  # else it warns on a CPU

import deepspeed  # noqa: E402
from deepspeed import utils as deepspeed_utils  # noqa: E402
from deepspeed.runtime.engine import DeepSpeedEngine  # noqa: E402
from deepspeed.runtime.zero.partition_parameters import Init  # noqa: E402

# keys of DeepSpeed's configuration that follow from the recipe, and the recipe's key for each
OWNED = {
    "train_batch_size": "streams.<name>.batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch",
    "gradient_accumulation_steps": "micro_batch",
    "managed_gradient_accumulation": "micro_batch",
    "gradient_clipping": "optimizer.clip",
    "optimizer": "optimizer",
    "scheduler": "optimizer.schedule",
    "fp16": "precision",
    "bf16": "precision",
    "amp": "precision",
    "torch_autocast.enabled": "precision",
    "torch_autocast.dtype": "precision",
    "zero_optimization.compute_grad_norm": "optimizer.clip",
}


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
        self.device, self.module = dist.device(), module
        self._groups, self._clip = groups, options.clip
        self._stage = int(config.get("zero_optimization", {}).get("stage", 0))
        settings = _settings(config, options.clip if self._stage else None, precision)
        _join()
        self._optimizer = TowerAdamW(groups, options)
        with _tamed(module):
            self._engine, *_ = deepspeed.initialize(
                model=module, optimizer=self._optimizer, config=settings, dist_init_required=False
            )
        self._flats = self._partitions()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward."""
        return self._engine(*args, **kwargs)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds the gradients of `loss`, which is divided by the counts of the whole step already."""
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss * dist.world())  # DeepSpeed averages over ranks

    def step(self, lr: float, stream: str) -> float:
        """One step of the towers that `stream` trains; returns the norm of their gradient before clipping.

        Where that norm is not finite nothing changes. Gradients are cleared either way.
        """
        self._optimizer.activate(stream, lr)
        active = [p for group in self._groups if stream in group.streams for p in group.parameters.values()]
        if self._stage == 0:
            norm = clip_(active, self._clip)
            self._engine.step() if math.isfinite(norm) else self._engine.zero_grad()
            return norm
        self._engine.step()
        if self._stage == 3:
            for parameter in active:
                deepspeed_utils.safe_set_local_grad(parameter, torch.zeros_like(parameter.ds_tensor))
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


def _settings(config: Mapping[str, Any], clip: float | None, precision: str) -> dict[str, Any]:
    """DeepSpeed's configuration: the recipe's `deepspeed` mapping as it stands, and what follows from other keys.

    Raises RecipeError where the mapping sets what other keys of the recipe say.
    """
    problems = [
        f"deepspeed.{key}: vltk sets it from the recipe's `{ours}`; remove it" for key, ours in OWNED.items()
        if _has(config, key)
    ]
    if problems:
        raise RecipeError(problems)
    settings = deepcopy(dict(config))
    autocast = {"lower_precision_safe_modules": [], **settings.get("torch_autocast", {})}  # gradients reduced in fp32
    return settings | {
        "train_micro_batch_size_per_gpu": 1,  # batches are made and losses divided outside
        "gradient_accumulation_steps": 1,
        "gradient_clipping": clip or 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": autocast | {"enabled": precision == "bf16", "dtype": "bfloat16"},
    }


def _has(config: Any, key: str) -> bool:
    """Whether a nested mapping holds the dotted `key`."""
    for part in key.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return False
        config = config[part]
    return True


def _join() -> None:
    """DeepSpeed wants a process group even for one process; several joined theirs in `dist.start`."""
    if not torch_dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch_dist.init_process_group(backend, store=torch_dist.HashStore(), rank=0, world_size=1)


@contextmanager
def _tamed(module: nn.Module) -> Iterator[None]:
    """DeepSpeed's start without three of its habits.

    It warns about every optimizer that is not its own; it compiles an all-reduce for CPUs of one machine (gloo has one);
    and its broadcasts of the first weights fail on parameters without dimensions, such as `logit_scale`.
    """

    def convert(init: Init, parameter: nn.Parameter) -> None:
        init._convert_to_deepspeed_param(parameter)
        parameter.partition()

    def wanted(record: logging.LogRecord) -> bool:
        return "untested optimizer" not in record.getMessage()

    logger = logging.getLogger("DeepSpeed")
    logger.addFilter(wanted)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    agree(module)
    try:
        with patch.object(DeepSpeedEngine, "_broadcast_model", lambda engine: None):
            with patch.object(Init, "_zero_init_param", convert):
                yield
    finally:
        logger.removeFilter(wanted)
