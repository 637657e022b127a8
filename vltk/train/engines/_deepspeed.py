"""How DeepSpeed is configured and started: its keys that the recipe says elsewhere, its process group, its habits."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as torch_dist
from pydantic import ValidationError
from torch import Tensor, nn

from vltk import dist
from vltk.errors import RecipeError
from vltk.train.engines._state import agree

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")  # else it warns on a CPU

import deepspeed  # noqa: E402
from deepspeed import utils as deepspeed_utils  # noqa: E402
from deepspeed.runtime.engine import DeepSpeedEngine  # noqa: E402
from deepspeed.runtime.zero import parameter_offload  # noqa: E402
from deepspeed.runtime.zero import utils as zero_utils  # noqa: E402
from deepspeed.runtime.zero.partition_parameters import Init  # noqa: E402

__all__ = ["deepspeed", "deepspeed_utils", "join", "settings", "stage", "tamed"]

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


def _to_tensors(function: Callable[[Tensor], Tensor], value: Any, warning_msg_fn: Any = None) -> Any:
    """DeepSpeed's own, which looks for tensors in tuples and mappings, and here in dataclasses too, without a warning.

    At stage 3 the hooks on a module's outputs bring back, for backward, the parameters that it used: without them a
    parameter used outside the forward of its owner would meet its gradient with size 0.
    """
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: _to_tensors(function, getattr(value, field.name)) for field in fields(value)}
        return replace(value, **held)
    return _to_tensors_only(function, value)


_to_tensors_only = zero_utils.apply_to_tensors_only
zero_utils.apply_to_tensors_only = parameter_offload.apply_to_tensors_only = _to_tensors


def stage(config: Mapping[str, Any]) -> int:
    """The ZeRO stage that the recipe's `deepspeed` mapping asks for; raises RecipeError where there is none such."""
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, Mapping):
        raise RecipeError(f"deepspeed.zero_optimization: '{zero}' should be a mapping, as {{stage: 2}}")
    if zero.get("stage", 0) not in (0, 1, 2, 3):
        raise RecipeError(f"deepspeed.zero_optimization.stage: no stage '{zero['stage']}'; have: 0, 1, 2, 3")
    return int(zero.get("stage", 0))


def settings(config: Mapping[str, Any], clip: float | None, precision: str) -> dict[str, Any]:
    """DeepSpeed's configuration: the recipe's `deepspeed` mapping as it stands, and what follows from other keys.

    Raises RecipeError where the mapping sets what other keys of the recipe say.
    """
    problems = [
        f"deepspeed.{key}: vltk sets it from the recipe's `{ours}`; remove it"
        for key, ours in OWNED.items()
        if _has(config, key)
    ]
    if problems:
        raise RecipeError(problems)
    given = deepcopy(dict(config))
    autocast = {"lower_precision_safe_modules": [], **given.get("torch_autocast", {})}  # gradients reduced in fp32
    return given | {
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


def join() -> None:
    """DeepSpeed wants a process group even for one process; several joined theirs in `dist.start`."""
    if not torch_dist.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch_dist.init_process_group(backend, store=torch_dist.HashStore(), rank=0, world_size=1)
    os.environ.setdefault("LOCAL_RANK", str(dist.local_rank()))


@contextmanager
def tamed(module: nn.Module) -> Iterator[None]:
    """DeepSpeed's start without three of its habits.

    It warns about every optimizer that is not its own; it compiles an all-reduce for CPUs of one machine, although gloo
    has one; and its broadcasts of the first weights fail on parameters without dimensions, such as `logit_scale`.
    Raises RecipeError where DeepSpeed does not accept its configuration.
    """

    def convert(init: Init, parameter: Any) -> None:
        init._convert_to_deepspeed_param(parameter)
        parameter.partition()

    def wanted(record: logging.LogRecord) -> bool:
        return "untested optimizer" not in record.getMessage()

    logger = logging.getLogger("DeepSpeed")
    logger.addFilter(wanted)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    agree(module)
    try:
        with (
            patch.object(DeepSpeedEngine, "_broadcast_model", lambda engine: None),
            patch.object(Init, "_zero_init_param", convert),
        ):
            yield
    except ValidationError as error:
        problems = [
            f"deepspeed: {'.'.join(map(str, p['loc']))}: {p['msg']}, not {p['input']!r}" for p in error.errors()
        ]
        raise RecipeError(problems) from error
    finally:
        logger.removeFilter(wanted)
