"""The `deepspeed` mapping: what is passed on, and what is refused with the place of the recipe's own key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.harness import call
from vltk.errors import RecipeError
from vltk.train.engines._mapping import APART, KNOWN, OFFLOAD, OTHERWISE, OWNED, STAGES, settings


@pytest.mark.parametrize(
    ("zero", "said"),
    [
        ({"stage": 2, "offload_param": {"device": "cpu"}}, "offload_param: ZeRO stage 2 has no such option"),
        ({"offload_optimizer": {"device": "cpu"}}, "offload_optimizer: ZeRO stage 0 has no such option"),
        ({"stage": 2, "round_robin_gradients": True}, "round_robin_gradients: not with vltk: DeepSpeed loses track"),
        ({"stage": 3, "allgather_bucket_size": 5}, "allgather_bucket_size: ZeRO stage 3 has no such option"),
        ({"stage": 1, "sub_group_size": 10}, "remove it, or set stage 3"),
        ({"stage": 2, "stage3_max_live_parameters": 5}, "stage3_max_live_parameters: ZeRO stage 2 has no such option"),
        ({"stage": 3, "mics_shard_size": 2}, "mics_shard_size: not with vltk: parameters are shared by all ranks"),
        ({"stage": 3, "zero_quantized_weights": True}, "zero_quantized_weights: not with vltk: weights are fp32"),
        ({"stage": 3, "offload_param": {"device": "nvme"}}, "'nvme' is not supported, as checkpoints read memory"),
        ({"stage": 2, "offload_optimizer": "cpu"}, "'cpu' should be a mapping, as {device: cpu}"),
        ({"stage": 3, "offload_optimizer": {"device": "cpu", "ratio": 0.5}}, "offload_optimizer.ratio: a part of it"),
        ({"stag": 1}, "stag: DeepSpeed has no such option; did you mean 'stage'?"),
        ({"cpu_offload": True}, "cpu_offload: DeepSpeed has no such option"),
        ({"stage": 3, "prefetch_bucket_size": 5}, "did you mean 'stage3_prefetch_bucket_size'?"),
        (
            {"stage": 2, "offload_optimizer": {"devise": "cpu"}},
            "DeepSpeed has no such option; did you mean 'device'",
        ),
    ],
)
def test_options_that_a_stage_does_not_have(zero: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        settings({"zero_optimization": zero}, None, "fp32")
    assert said in str(caught.value) and str(caught.value).startswith("deepspeed.zero_optimization.")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"foo": 1}, "deepspeed.foo: DeepSpeed has no such key; have: aio, "),
        ({"zero_optimisation": {"stage": 3}}, "DeepSpeed has no such key; did you mean 'zero_optimization'?"),
        ({"progressive_layer_drop": {"enabled": True}}, "deepspeed.progressive_layer_drop: DeepSpeed has no such key"),
        ({"tensor_parallel": {"autotp_size": 2}}, "deepspeed.tensor_parallel: not with vltk: each process computes"),
    ],
)
def test_keys_that_would_change_nothing_or_everything(config: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        settings(config, None, "fp32")
    assert said in str(caught.value)


def test_every_option_named_is_one_of_deepspeed_and_none_is_left_out() -> None:
    """A new version may rename them; MiCS is gone from the later ones. Old names that it still takes are left out."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.runtime.zero.offload_config import (
        DeepSpeedZeroOffloadOptimizerConfig,
        DeepSpeedZeroOffloadParamConfig,
    )

    fields = DeepSpeedZeroConfig.model_fields
    current = {
        field.alias or name for name, field in fields.items() if not (field.json_schema_extra or {}).get("deprecated")
    }
    named = {name for name in (*STAGES, *OTHERWISE) if not name.startswith("mics_")}
    owned = {key.partition(".")[2] for key in OWNED if key.startswith("zero_optimization.")}
    assert named | owned == current
    assert set(OFFLOAD["offload_optimizer"]) == set(DeepSpeedZeroOffloadOptimizerConfig.model_fields)
    assert set(OFFLOAD["offload_param"]) == set(DeepSpeedZeroOffloadParamConfig.model_fields)


class Asked(dict[str, Any]):
    """Remembers which keys it is asked for."""

    keys_asked: ClassVar[set[str]] = set()

    def __contains__(self, key: object) -> bool:
        self.keys_asked.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_asked.add(key)
        return super().get(key, default)

    def keys(self) -> Any:
        return self


def test_every_key_that_deepspeed_asks_for_is_known() -> None:
    from deepspeed.runtime.config import _REMOVED_TOP_LEVEL_CONFIG_KEYS, DeepSpeedConfig

    DeepSpeedConfig(Asked(train_micro_batch_size_per_gpu=1))
    known = {*KNOWN, *APART, *(key for key in OWNED if "." not in key)}
    elsewhere = {"data_parallel_size", "sequence_parallel_size", *_REMOVED_TOP_LEVEL_CONFIG_KEYS}  # in `initialize` too
    assert Asked.keys_asked - elsewhere == known - elsewhere


def test_a_key_without_a_space_behind_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipe", "check", "clip-tiny", "deepspeed={zero_optimization: {stage:1}}") == 2
    assert "deepspeed: 'stage:1' lacks a space behind its colon: write stage: 1" in capsys.readouterr().err


def test_an_unknown_key_is_named_with_its_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text("include: [clip-tiny.yaml]\ndeepspeed:\n  zero_optimization: {stag: 1}\n  foo: 1\n")
    assert call("recipe", "check", "own.yaml") == 2
    said = capsys.readouterr().err
    assert "own.yaml:3: deepspeed.zero_optimization.stag: DeepSpeed has no such option; did you mean 'stage'?" in said
    assert "own.yaml:4: deepspeed.foo: DeepSpeed has no such key" in said


def test_the_rest_is_passed_on_as_it_stands() -> None:
    given = {
        "zero_optimization": {"stage": 3, "stage3_max_live_parameters": 5, "offload_param": {"device": "cpu"}},
        "wall_clock_breakdown": True,
    }
    found = settings(given, 0.5, "fp16")
    assert {key: found[key] for key in given} == given
    assert found["gradient_clipping"] == 0.5 and found["torch_autocast"]["dtype"] == "float16"
    assert settings(given, None, "fp32")["torch_autocast"]["enabled"] is False


def test_both_places_are_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text(
        "include: [clip-tiny.yaml]\n"
        "precision: fp16\n"
        "deepspeed:\n"
        "  fp16: {enabled: true}\n"
        "  activation_checkpointing: {partition_activations: true}\n"
        "  zero_optimization: {stage: 1, offload_param: {device: cpu}}\n"
    )
    assert call("recipe", "check", "own.yaml") == 2
    said = capsys.readouterr().err
    assert (
        "own.yaml:4: deepspeed.fp16: vltk sets it from the recipe's `precision`; remove it (precision: own.yaml:2)"
        in said
    )
    assert (
        "own.yaml:5: deepspeed.activation_checkpointing: vltk sets it from the recipe's `checkpoint_activations`"
        in said
    )
    assert "own.yaml:6: deepspeed.zero_optimization.offload_param: ZeRO stage 1 has no such option" in said
