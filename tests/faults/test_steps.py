"""Steps without a number are left out or gone back from, and a run that was stopped in between does the same again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness import DEBUG, call, facts, losses, rows, weights
from vltk.checkpoint import writing
from vltk.train import loop
from vltk.train.signals import Signals

OPTIONS = ["train", "clip-tiny", DEBUG, "steps=12", "checkpoint={every: 3, keep: 4}", "log_every=1", "evaluate=null"]


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """Steps at which the samples that are met there first make all losses NaN, whenever they are met there."""
    steps, bad = set[int](), dict[int, torch.Tensor]()
    run_step = loop.run_step

    def poisoned(engine: Any, pretraining: Any, stream: str, inputs: Any, step: int, seed: int) -> Any:
        if step not in steps or not bad.setdefault(step, inputs[0]["image"]).equal(inputs[0]["image"]):
            return run_step(engine, pretraining, stream, inputs, step, seed)
        scale = pretraining.model.logit_scale.data
        before = scale.clone()
        scale.fill_(torch.nan)
        record = run_step(engine, pretraining, stream, inputs, step, seed)
        scale.copy_(before)
        return record

    monkeypatch.setattr(loop, "run_step", poisoned)
    yield steps


def ended_after(steps: int, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """Trains so many steps, of whatever attempt, and ends without saving."""
    left = iter(range(steps))
    with monkeypatch.context() as patch:
        patch.setattr(Signals, "asked", lambda self: 0 if next(left, None) is not None else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            call(*OPTIONS, *options)


def test_left_out(home: Path, poison: set[int], capsys: pytest.CaptureFixture[str]) -> None:
    poison |= {4, 7}
    assert call(*OPTIONS, "name=whole", "faults.skip=2") == 0
    said = capsys.readouterr().err
    assert "step 7, stream pairs: the loss of itc is not a finite number; the step is left out (2 of at most 2" in said
    assert [step for step, _, _ in losses("whole/train")] == [1, 2, 3, 4, 6, 7, 9, 10, 11, 12]
    found = rows("whole/train", "spikes.jsonl")
    assert [(row["step"], row["kind"]) for row in found] == [(4, "skipped"), (7, "skipped")]
    assert all(key.startswith("shapes/train/") for row in found for key in row["keys"]) and found[0]["keys"]


def test_one_more_than_the_limit(home: Path, poison: set[int], capsys: pytest.CaptureFixture[str]) -> None:
    poison |= {4, 7}
    assert call(*OPTIONS, "faults.skip=1") == 1
    said = capsys.readouterr().err
    assert "the checkpoint of step 6 is kept; 1 step left out before it" in said and "Traceback" not in said
    assert call(*OPTIONS, "faults.skip=2") == 0, "what a run puts up with does not belong to what it is"
    assert "going on from step 6" in capsys.readouterr().out


def test_gone_back(home: Path, poison: set[int], capsys: pytest.CaptureFixture[str]) -> None:
    """The steps since the checkpoint are trained again on other samples; each step stands in the log once."""
    assert call(*OPTIONS, "name=other") == 0
    poison |= {7}
    assert call(*OPTIONS, "name=whole", "faults.rollbacks=1") == 0
    assert "back to the checkpoint of step 6, on with other draws (1 of at most 1)" in capsys.readouterr().err
    whole, other = losses("whole/train"), losses("other/train")
    assert [step for step, _, _ in whole] == list(range(1, 13))
    assert whole[:6] == other[:6] and whole[6:] != other[6:]
    assert facts("whole/train")["status"] == "finished"


def test_gone_back_while_a_checkpoint_is_being_written(
    home: Path, poison: set[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is waited for, and is the one that the run goes back to: what it does must not depend on the disk."""
    write = writing.write

    def slow(path: Path, *more: Any) -> Any:
        time.sleep(0.5)
        return write(path, *more)

    poison |= {6}
    assert call(*OPTIONS, "name=quick", "faults.rollbacks=1", "checkpoint.asynchronous=false") == 0
    capsys.readouterr()
    monkeypatch.setattr(writing, "write", slow)
    assert call(*OPTIONS, "name=slow", "faults.rollbacks=1") == 0
    assert "back to the checkpoint of step 6, on with other draws" in capsys.readouterr().err
    assert losses("slow/train") == losses("quick/train") and weights("slow/train") == weights("quick/train")


def test_ended_in_between(home: Path, poison: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a step that was left out, behind a return, and behind a checkpoint of the new draws: bit for bit the
    unbroken run."""
    options = ["faults={skip: 1, rollbacks: 1}"]
    poison |= {2, 5, 10}  # left out; gone back, to the checkpoint of step 3; left out
    assert call(*OPTIONS, "name=whole", *options) == 0
    for steps in (5, 4, 5):
        ended_after(steps, monkeypatch, "name=broken", *options)
    assert call(*OPTIONS, "name=broken", *options) == 0
    assert losses("broken/train") == losses("whole/train") and weights("broken/train") == weights("whole/train")
    assert rows("broken/train", "spikes.jsonl")[-1] == rows("whole/train", "spikes.jsonl")[-1]
    assert [row["attempt"] for row in rows("broken/train", "spikes.jsonl")][-1] == 1
