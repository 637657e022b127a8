"""The torch engine in one process, and what the DeepSpeed engine refuses; processes in plural: tests/distributed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.towers import OPTIONS, STEPS, Held, batch_of, changes, made, one_step, run, state_of, trained_by
from vltk.errors import RecipeError, VltkError
from vltk.train.engines.torch import Torch


def engine(precision: str = "fp32") -> Any:
    return Torch(*made(), OPTIONS, precision)  # type: ignore[arg-type]


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_idle_towers_stay_exactly_as_they_are(micro_batches: int) -> None:
    toy, found = made()
    trained = Torch(toy, found, OPTIONS, "fp32")
    before = state_of(trained)
    for step in range(9):
        one_step(trained, step, batch_of(step), micro_batches)
        after = state_of(trained)
        assert changes(before, after) == trained_by(found, step)
        before = after


def test_any_split_into_micro_batches_is_one_step() -> None:
    whole, split = list(run(engine(), 0, STEPS)), list(run(engine(), 0, STEPS, micro_batches=4))
    assert split == [pytest.approx(pair, rel=1e-4) for pair in whole]


def test_resumes_bit_for_bit() -> None:
    unbroken, stopped = engine(), engine()
    unbroken_losses = list(run(unbroken, 0, 20))
    losses = list(run(stopped, 0, 7))
    resumed = engine()
    resumed.load(Held(state_of(stopped)))
    losses += list(run(resumed, 7, 20))
    assert losses == unbroken_losses
    assert not changes(state_of(unbroken), state_of(resumed))


def test_load_takes_back_what_came_after() -> None:
    """Loading into a trained engine leaves nothing of its own moments."""
    fresh, trained = engine(), engine()
    first = state_of(fresh)
    list(run(trained, 0, 5))
    trained.load(Held(first))
    assert not changes(first, state_of(trained))
    assert list(run(trained, 0, 5)) == list(run(fresh, 0, 5))


def test_state_holds_all_weights_and_only_stepped_moments() -> None:
    trained = engine()
    list(run(trained, 0, 1))  # images alone
    state = state_of(trained)
    toy, _ = made()
    assert set(state["weights"]) == {name for name, _ in toy.named_parameters()} | {"model.seen"}
    assert set(state["exp_avg"]) == set(state["steps"]) == set(state["exp_avg_sq"])
    assert "model.cls" in state["steps"] and "model.words.weight" not in state["steps"]
    assert state["weights"]["model.seen"].dtype == torch.int64
    state["weights"]["model.cls"].zero_()
    assert trained.module.model.cls.abs().sum() > 0  # a copy


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nothing_changes_where_the_norm_is_not_finite(value: float) -> None:
    spoiled, plain = engine(), engine()
    list(run(spoiled, 0, 5))
    list(run(plain, 0, 5))
    before = state_of(spoiled)
    bad = batch_of(5)
    bad["images"][3, 2] = value
    _, norm = one_step(spoiled, 5, bad)
    assert not math.isfinite(norm)
    assert not changes(before, state_of(spoiled))
    assert list(run(spoiled, 5, 8)) == list(run(plain, 5, 8))


def test_an_absent_gradient_counts_as_zero() -> None:
    """So that a tower does the same in one process as in many, where all ranks must sum the same tensors."""
    trained = engine()
    losses, _ = trained("pairs", batch_of(2))
    trained.backward(losses.sums["itm"], last=True)
    assert trained.module.model.logit_scale.grad is None
    trained.step(0.1, "pairs")
    assert state_of(trained)["steps"]["model.logit_scale"] == 1


def test_bf16_is_autocast_over_fp32_weights() -> None:
    low = engine("bf16")
    losses, embedded = low("pairs", batch_of(2))
    assert embedded["image"][0].dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in low.module.parameters())
    low.backward(sum(losses.sums.values()), last=True)
    assert low.module.model.fused.weight.grad.dtype == torch.float32
    low.step(0.1, "pairs")
    trained = [loss for loss, _ in run(engine("bf16"), 0, 6)]
    assert trained == pytest.approx([loss for loss, _ in run(engine(), 0, 6)], rel=0.03)
    assert trained != [loss for loss, _ in run(engine(), 0, 6)]


def test_gathered_leaves_the_module_as_it_is() -> None:
    whole = engine()
    with whole.gathered():
        assert whole.module.model.encode_image(torch.zeros(2, 5)).shape == (2, 6)


def test_a_checkpoint_of_another_model_is_named_key_by_key() -> None:
    state = state_of(engine())
    state["weights"]["model.cls"] = torch.zeros(9)
    state["weights"]["model.other"] = state["weights"].pop("model.text.bias")
    with pytest.raises(VltkError) as caught:
        engine().load(Held(state))
    message = str(caught.value)
    assert "model.cls is (9,), the model has (6,)" in message
    assert "missing model.text.bias (6,)" in message and "unknown model.other (6,)" in message


def test_a_checkpoint_without_its_moments_is_refused() -> None:
    trained = engine()
    list(run(trained, 0, 2))
    state = state_of(trained)
    del state["exp_avg_sq"]["model.cls"]
    with pytest.raises(VltkError, match=r"exp_avg_sq: missing model\.cls"):
        engine().load(Held(state))


def test_deepspeed_refuses_keys_that_the_recipe_has_elsewhere() -> None:
    from vltk.train.engines.deepspeed import DeepSpeed

    config = {
        "train_batch_size": 64,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": True},
        "torch_autocast": {"dtype": "float16"},
        "zero_optimization": {"stage": 2, "overlap_comm": True},
    }
    toy, found = made()
    with pytest.raises(RecipeError) as caught:
        DeepSpeed(toy, found, OPTIONS, "fp32", config)
    assert [line.split(":")[0] for line in caught.value.problems] == [
        "deepspeed.train_batch_size",
        "deepspeed.gradient_clipping",
        "deepspeed.bf16",
        "deepspeed.torch_autocast.dtype",
    ]
    assert "optimizer.clip" in str(caught.value) and "precision" in str(caught.value)


@pytest.mark.parametrize(
    ("zero", "expected"),
    [
        (2, "deepspeed.zero_optimization: '2' should be a mapping"),
        ({"stage": 4}, "stage: should be one of the numbers 0, 1, 2, 3, given 4"),
        ({"stage": "two"}, "should be one of the numbers 0, 1, 2, 3, given 'two'"),
        ({"stage": "2"}, "should be one of the numbers 0, 1, 2, 3, given '2'"),
        ({"stage": True}, "should be one of the numbers 0, 1, 2, 3, given True"),
        ({"stage": 2.0}, "should be one of the numbers 0, 1, 2, 3, given 2.0"),
    ],
)
def test_deepspeed_stages_that_do_not_exist(zero: Any, expected: str) -> None:
    from vltk.train.engines.deepspeed import DeepSpeed

    with pytest.raises(RecipeError) as caught:
        DeepSpeed(*made(), OPTIONS, "fp32", {"zero_optimization": zero})
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"checkpoint": {"tag_validation": "often"}}, "deepspeed: Checkpoint config contains invalid"),
        (
            {"zero_optimization": {"stage": 1, "reduce_bucket_size": -1}},
            "zero_optimization.reduce_bucket_size: Input",
        ),
    ],
)
def test_what_deepspeed_itself_does_not_accept(config: dict[str, Any], expected: str) -> None:
    from vltk.train.engines.deepspeed import DeepSpeed

    with pytest.raises(RecipeError) as caught:
        DeepSpeed(*made(), OPTIONS, "fp32", config)
    assert expected in str(caught.value)
