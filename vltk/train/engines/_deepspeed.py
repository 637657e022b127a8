"""How DeepSpeed is started: its process group, and the habits that it is kept from."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from deepspeed.runtime.config import DeepSpeedConfigError  # noqa: E402
from deepspeed.runtime.engine import DeepSpeedEngine  # noqa: E402
from deepspeed.runtime.zero import parameter_offload  # noqa: E402
from deepspeed.runtime.zero import utils as zero_utils  # noqa: E402
from deepspeed.runtime.zero.partition_parameters import Init  # noqa: E402

__all__ = ["deepspeed", "deepspeed_utils", "join", "scale_outside", "tamed"]


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
        place = "deepspeed.zero_optimization" if error.title == "DeepSpeedZeroConfig" else "deepspeed"
        problems = [f"{place}.{'.'.join(map(str, p['loc']))}: {p['msg']}, not {p['input']!r}" for p in error.errors()]
        raise RecipeError(problems) from error
    except DeepSpeedConfigError as error:
        raise RecipeError(f"deepspeed: {error}") from error
    finally:
        logger.removeFilter(wanted)


def scale_outside(engine: DeepSpeedEngine) -> None:
    """Losses are scaled by vltk: with autocast DeepSpeed would clip by the norm of scaled gradients, and change the
    scale behind each group of parameters."""
    engine.torch_autocast_z0_gradscaler = None
    if hasattr(engine.optimizer, "loss_scaler"):
        engine.optimizer.torch_autocast_gradscaler = None
        engine.optimizer.loss_scaler.update_scale = lambda overflow: None
