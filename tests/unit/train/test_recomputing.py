"""Activations that are computed again in backward: the same losses and gradients, with less kept in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.kept import kept
from tests import tiny
from tests.harness import DEBUG, call, losses, weights
from vltk.train.accumulate import Record, run_step
from vltk.train.setup import recompute

LENGTHS = (12, 7, 4, 9)


def stepped(again: bool, dropout: float, micro_batches: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Losses and gradients of one step on pairs, and the bytes that forward kept for backward."""
    model = tiny.flava()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = dropout
    pretraining = tiny.pretraining(model, "itc", "itm", "mmm").train()
    if again:
        recompute(pretraining)
    batch = tiny.batch(4, LENGTHS, (1, 0, 1, 1))
    cut = {name: tensor.chunk(micro_batches) for name, tensor in batch.items()}
    batches: list[Any] = [{name: parts[n] for name, parts in cut.items()} for n in range(micro_batches)]
    records: list[Record] = []

    def step() -> None:
        records.append(run_step(tiny.Bare(pretraining), pretraining, "all", batches, step=0, seed=0))

    held = kept(step, model)
    return records[0].losses, tiny.gradients(model), held


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_losses_and_gradients_are_the_same(dropout: float, micro_batches: int) -> None:
    once, again = stepped(False, dropout, micro_batches), stepped(True, dropout, micro_batches)
    assert once[0].keys() == again[0].keys() and all(again[0][name].equal(loss) for name, loss in once[0].items())
    assert once[1].keys() == again[1].keys() and len(once[1]) > 50
    for name, gradient in once[1].items():
        torch.testing.assert_close(again[1][name], gradient, rtol=1e-6, atol=1e-8, msg=name)
    assert again[2] < 0.6 * once[2]


def test_it_changes_nothing_of_a_run(home: Path) -> None:
    """It is no part of what a run is: one that has begun without goes on with it."""
    options = ["train", "clip-tiny", DEBUG, "steps=3"]
    assert call(*options, "name=kept") == 0
    assert call(*options, "name=again", "checkpoint_activations=true") == 0
    assert losses("again/train") == losses("kept/train") and weights("again/train") == weights("kept/train")
    assert call(*options, "name=kept", "checkpoint_activations=true") == 0


def test_a_model_without_blocks_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["flava-tiny", DEBUG, "stages.image=null", "stages.text=null", "stages.joint=null"]
    assert call("train", *options, "checkpoint_activations=true") == 2
    assert "checkpoint_activations: the model dvae has no transformer blocks; remove it" in capsys.readouterr().err
