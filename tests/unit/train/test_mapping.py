"""The `deepspeed` mapping: what is passed on, and what is refused with the place of the recipe's own key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness import call
from vltk.errors import RecipeError
from vltk.train.engines._mapping import OTHERWISE, OWNED, STAGES, settings


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
    ],
)
def test_options_that_a_stage_does_not_have(zero: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        settings({"zero_optimization": zero}, None, "fp32")
    assert said in str(caught.value) and str(caught.value).startswith("deepspeed.zero_optimization.")


def test_every_option_named_is_one_of_deepspeed() -> None:
    """A new version may rename them; MiCS is gone from the later ones."""
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    named = {name for name in (*STAGES, *OTHERWISE) if not name.startswith("mics_")}
    assert named <= set(DeepSpeedZeroConfig.model_fields)
    owned = {key.partition(".")[2] for key in OWNED if key.startswith("zero_optimization.")}
    assert owned <= set(DeepSpeedZeroConfig.model_fields)


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
