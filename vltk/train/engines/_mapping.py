"""The recipe's `deepspeed` mapping: passed on as it stands, but for what other keys say and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from vltk.errors import RecipeError
from vltk.train.engines._scale import LOW, Precision

# keys of DeepSpeed's configuration that follow from the recipe, and the recipe's key for each
OWNED = {
    "train_batch_size": "streams.<name>.batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch",
    "gradient_accumulation_steps": "micro_batch",
    "managed_gradient_accumulation": "micro_batch",
    "elasticity": "streams.<name>.batch_size",
    "gradient_clipping": "optimizer.clip",
    "optimizer": "optimizer",
    "zero_allow_untested_optimizer": "optimizer",
    "zero_force_ds_cpu_optimizer": "optimizer",
    "scheduler": "optimizer.schedule",
    "fp16": "precision",
    "bf16": "precision",
    "amp": "precision",
    "data_types": "precision",
    "torch_autocast.enabled": "precision",
    "torch_autocast.dtype": "precision",
    "zero_optimization.compute_grad_norm": "optimizer.clip",
    "activation_checkpointing": "checkpoint_activations",
}
_ONE_TO_THREE, _TWO, _THREE = (1, 2, 3), (1, 2), (3,)
STAGES = {  # options of zero_optimization that DeepSpeed heeds at some stages alone, beside those named `stage3_...`
    "offload_optimizer": _ONE_TO_THREE,
    "offload_param": _THREE,
    "overlap_comm": _ONE_TO_THREE,
    "contiguous_gradients": _ONE_TO_THREE,
    "reduce_scatter": _ONE_TO_THREE,
    "reduce_bucket_size": _ONE_TO_THREE,
    "allgather_partitions": _TWO,
    "allgather_bucket_size": _TWO,
    "sub_group_size": _THREE,
    "zero_hpz_partition_size": _THREE,
    "zero_quantized_gradients": _THREE,
    "leaf_module": _THREE,
}
OTHERWISE = {  # options of zero_optimization that go against how vltk steps, computes or saves
    "round_robin_gradients": "DeepSpeed loses track of which numbers a rank holds, so checkpoints would be wrong",
    "mics_shard_size": "parameters are shared by all ranks here",
    "mics_hierarchical_params_gather": "parameters are shared by all ranks here",
    "zero_quantized_weights": "weights are fp32 here, low precision is autocast",
    "zero_quantized_nontrainable_weights": "weights are fp32 here, low precision is autocast",
    "zenflow": "it steps parameters on its own, also those of towers that are idle",
    "ignore_unused_parameters": "towers that are idle in a step have none",
    "elastic_checkpoint": "checkpoints are vltk's own",
    "load_from_fp32_weights": "checkpoints are vltk's own",
}


@dataclass(frozen=True)
class Conflict:
    """What is wrong with the dotted `key` below `deepspeed`; `ours` is the recipe's key for the same, if any."""

    key: str
    text: str
    ours: str | None = None


def stage(config: Mapping[str, Any]) -> int:
    """The ZeRO stage that the recipe's `deepspeed` mapping asks for; raises RecipeError where there is none such."""
    if found := _no_stage(config):
        raise RecipeError(f"deepspeed.{found.key}: {found.text}")
    return int(config.get("zero_optimization", {}).get("stage", 0))


def conflicts(config: Mapping[str, Any]) -> Iterator[Conflict]:
    """Every key that the mapping cannot set."""
    for key, ours in OWNED.items():
        if _has(config, key):
            yield Conflict(key, f"vltk sets it from the recipe's `{ours}`; remove it", ours)
    if found := _no_stage(config):
        yield found
        return
    zero, given = config.get("zero_optimization", {}), stage(config)
    for name, value in zero.items():
        key = f"zero_optimization.{name}"
        able = _THREE if name.startswith("stage3_") else STAGES.get(name, (0, 1, 2, 3))
        if name in OTHERWISE:
            yield Conflict(key, f"not with vltk: {OTHERWISE[name]}; remove it")
        elif given not in able:
            stages = " or ".join(map(str, able))
            yield Conflict(key, f"ZeRO stage {given} has no such option; remove it, or set stage {stages}")
        elif name.startswith("offload_"):
            yield from _offload(key, value)


def settings(config: Mapping[str, Any], clip: float | None, precision: Precision) -> dict[str, Any]:
    """DeepSpeed's configuration: the recipe's `deepspeed` mapping as it stands, and what follows from other keys.

    Raises RecipeError where the mapping sets what it cannot.
    """
    if problems := [f"deepspeed.{found.key}: {found.text}" for found in conflicts(config)]:
        raise RecipeError(problems)
    given = deepcopy(dict(config))
    autocast = {"lower_precision_safe_modules": [], **given.get("torch_autocast", {})}  # gradients reduced in fp32
    dtype = str(LOW.get(precision, LOW["bf16"])).removeprefix("torch.")
    return given | {
        "train_micro_batch_size_per_gpu": 1,  # batches are made and losses divided outside
        "gradient_accumulation_steps": 1,
        "gradient_clipping": clip or 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": autocast | {"enabled": precision in LOW, "dtype": dtype},
    }


def _no_stage(config: Mapping[str, Any]) -> Conflict | None:
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, Mapping):
        return Conflict("zero_optimization", f"'{zero}' should be a mapping, as {{stage: 2}}")
    if zero.get("stage", 0) not in (0, 1, 2, 3):
        return Conflict("zero_optimization.stage", f"no stage '{zero['stage']}'; have: 0, 1, 2, 3")
    return None


def _offload(key: str, value: Any) -> Iterator[Conflict]:
    """Offload goes to the memory of the CPU, whole."""
    if not isinstance(value, Mapping):
        yield Conflict(key, f"'{value}' should be a mapping, as {{device: cpu}}")
        return
    if value.get("device", "none") not in ("cpu", "none"):
        yield Conflict(
            f"{key}.device", f"'{value['device']}' is not supported, as checkpoints read memory; have: cpu, none"
        )
    if value.get("ratio", 1.0) != 1.0:
        yield Conflict(f"{key}.ratio", "a part of it would be stepped by another optimizer, idle towers too; remove it")


def _has(config: Any, key: str) -> bool:
    """Whether a nested mapping holds the dotted `key`."""
    for part in key.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return False
        config = config[part]
    return True
