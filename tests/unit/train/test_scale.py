"""The loss scale of fp16: halved by an overflow, doubled behind many good steps, part of a checkpoint."""

from __future__ import annotations

import pytest
import torch

from tests.towers import OPTIONS, batch_of, changes, made, one_step, run, state_of
from vltk.train.engines import _scale
from vltk.train.engines._scale import LossScale
from vltk.train.engines.torch import Torch


def test_it_is_one_without_fp16() -> None:
    scale = LossScale(dynamic=False)
    scale.update(finite=False)
    assert scale.value == 1 and not scale.overflowed and scale.facts() == {} and scale.metrics() == {}


def test_halved_and_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scale, "PATIENCE", 3)
    scale = LossScale(dynamic=True)
    values = []
    for finite in (True, True, False, False, True, True, True, True):
        scale.update(finite)
        values.append((scale.value / _scale.START, scale.overflowed))
    assert values == [
        (1, False), (1, False), (0.5, True), (0.25, True), (0.25, False), (0.25, False), (0.5, False), (0.5, False),
    ]  # fmt: skip
    again = LossScale(dynamic=True)
    again.load(scale.facts())
    assert (again.value, again.good) == (scale.value, 1)
    again.load({})
    assert again.value == scale.value  # of a run that had none


def test_what_no_scale_can_help_is_no_overflow() -> None:
    """So that the loop can say that the gradient is not a number, and does not go on for ever."""
    scale = LossScale(dynamic=True)
    steps = 0
    while True:
        scale.update(finite=False)
        steps += 1
        if not scale.overflowed:
            break
    assert scale.value == _scale.LEAST and steps == 31


def test_gradients_and_norms_are_those_without_it() -> None:
    """Computed in fp32 here, so that nothing but the scale differs."""
    plain, scaled = Torch(*made(), OPTIONS, "fp32"), Torch(*made(), OPTIONS, "fp32")
    scaled.scale = LossScale(dynamic=True)
    wanted = list(run(plain, 0, 9))
    assert list(run(scaled, 0, 9)) == [pytest.approx(pair, rel=1e-5) for pair in wanted]


def test_a_step_that_overflows_changes_nothing_but_the_scale() -> None:
    engine = Torch(*made(), OPTIONS, "fp16")
    list(run(engine, 0, 4))
    before, engine.scale.value = state_of(engine), 2.0**40
    one_step(engine, 4, batch_of(4))
    assert engine.scale.overflowed and engine.scale.value == 2.0**39
    assert not changes(before, state_of(engine))
    assert all(p.grad is None for p in engine.module.parameters())
    engine.scale.value = 256.0
    one_step(engine, 4, batch_of(4))
    assert not engine.scale.overflowed and changes(before, state_of(engine))


def test_fp16_is_autocast_over_fp32_weights() -> None:
    low = Torch(*made(), OPTIONS, "fp16")
    low.scale.value = 256.0
    _, embedded = low("pairs", batch_of(2))
    assert embedded["image"][0].dtype == torch.float16
    losses = [loss for loss, _ in run(low, 0, 6)]
    wanted = [loss for loss, _ in run(Torch(*made(), OPTIONS, "fp32"), 0, 6)]
    assert losses == pytest.approx(wanted, rel=0.01) and losses != wanted
