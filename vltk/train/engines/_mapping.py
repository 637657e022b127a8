"""The recipe's `deepspeed` mapping: passed on as it stands, but for what other keys say and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from vltk.errors import RecipeError
from vltk.strict import short, suggest
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
    "bfloat16": "precision",
    "amp": "precision",
    "data_types": "precision",
    "torch_autocast.enabled": "precision",
    "torch_autocast.dtype": "precision",
    "zero_optimization.compute_grad_norm": "optimizer.clip",
    "activation_checkpointing": "checkpoint_activations",
}
KNOWN = (  # the other keys that DeepSpeed reads; it passes over what it does not know, without a word
    "aio", "autotuning", "checkpoint", "comet", "comms_logger", "communication_data_type", "compile", "csv_monitor",
    "data_efficiency", "dataloader_drop_last", "datastates_ckpt", "disable_allgather", "disable_python_gc",
    "dump_state", "flops_profiler", "gradient_allreduce_op", "gradient_predivide_factor", "hybrid_engine", "log_level",
    "memory_breakdown", "pipeline", "prescale_gradients", "seq_parallel_communication_data_type", "steps_per_print",
    "tensorboard", "timers", "torch_autocast", "use_data_before_expert_parallelism", "vocabulary_size",
    "wall_clock_breakdown", "wandb", "weight_quantization", "zero_optimization",
)  # fmt: skip
APART = ("tensor_parallel", "expert_parallel", "sequence_parallel_size", "data_parallel_size")
_ZERO, _ONE_TO_THREE, _TWO, _THREE = (0, 1, 2, 3), (1, 2, 3), (1, 2), (3,)
STAGES = {  # options of zero_optimization, and the stages that heed them
    "stage": _ZERO,
    "use_multi_rank_bucket_allreduce": _ZERO,
    "legacy_stage1": _ZERO,
    "parameter_alignment": _ZERO,
    "memory_efficient_linear": _ZERO,
    "pipeline_loading_checkpoint": _ZERO,
    "override_module_apply": _ZERO,
    "log_trace_cache_warnings": _ZERO,
    "enable_sanity_checks": _ZERO,
    "save_muon_momentum_buffer_in_memory": _ZERO,
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
    "stage3_prefetch_bucket_size": _THREE,
    "stage3_param_persistence_threshold": _THREE,
    "stage3_model_persistence_threshold": _THREE,
    "stage3_max_live_parameters": _THREE,
    "stage3_max_reuse_distance": _THREE,
    "stage3_gather_16bit_weights_on_model_save": _THREE,
    "stage3_module_granularity_threshold": _THREE,
    "stage3_use_all_reduce_for_fetch_params": _THREE,
    "stage3_allgather_sequential": _THREE,
}
OFFLOAD = {  # and what the mappings below two of them hold
    "offload_optimizer": (
        "device", "nvme_path", "buffer_count", "pin_memory", "pipeline_read", "pipeline_write", "fast_init", "ratio",
        "super_offload", "cpuadam_cores_perc",
    ),
    "offload_param": ("device", "nvme_path", "buffer_count", "buffer_size", "max_in_cpu", "pin_memory"),
}  # fmt: skip
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
    for key in config:
        if key in APART:
            yield Conflict(key, "not with vltk: each process computes whole layers for samples of its own; remove it")
        elif key not in KNOWN and key not in OWNED:
            yield Conflict(key, f"DeepSpeed has no such key{suggest(str(key), KNOWN)}")
    if found := _no_stage(config):
        yield found
        return
    zero, given = config.get("zero_optimization", {}), stage(config)
    for name, value in zero.items():
        key = f"zero_optimization.{name}"
        if name in OTHERWISE:
            yield Conflict(key, f"not with vltk: {OTHERWISE[name]}; remove it")
        elif key in OWNED:
            continue
        elif name not in STAGES:
            yield Conflict(key, f"DeepSpeed has no such option{suggest(str(name), STAGES)}")
        elif given not in STAGES[name]:
            stages = " or ".join(map(str, STAGES[name]))
            yield Conflict(key, f"ZeRO stage {given} has no such option; remove it, or set stage {stages}")
        elif name in OFFLOAD:
            yield from _offload(name, value)


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
    given = zero.get("stage", 0)
    if type(given) is not int or given not in _ZERO:
        return Conflict("zero_optimization.stage", f"should be one of the numbers 0, 1, 2, 3, given {short(given)}")
    return None


def _offload(name: str, value: Any) -> Iterator[Conflict]:
    """Offload goes to the memory of the CPU, whole."""
    key = f"zero_optimization.{name}"
    if not isinstance(value, Mapping):
        yield Conflict(key, f"'{value}' should be a mapping, as {{device: cpu}}")
        return
    for unknown in (word for word in value if word not in OFFLOAD[name]):
        yield Conflict(f"{key}.{unknown}", f"DeepSpeed has no such option{suggest(str(unknown), OFFLOAD[name])}")
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
