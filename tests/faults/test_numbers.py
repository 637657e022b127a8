"""A loss that is no number stops the run: named are step, stream and objective; the checkpoints before it stay."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.harness import DEBUG, call, exchanged, facts, losses, saved

TEXT = ["train", "flava-tiny", DEBUG, "stages.codes=null", "stages.image=null", "stages.joint=null", "steps=4"]
JOINT = ["train", "flava-tiny", DEBUG, "name=poisoned"]
PAIRS = "stages.joint.streams.contrast=null"


def test_a_learning_rate_that_is_far_too_high(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*TEXT, "optimizer.lr=1e30") == 1
    said = capsys.readouterr().err
    last = losses("flava-tiny/text")[-1][0]
    assert f"flava-tiny/text, step {last}, stream text: the loss of mlm is not a finite number" in said
    assert f"the checkpoint of step {last} is kept" in said and "Lower optimizer.lr" in said and "--redo" in said
    assert "Traceback" not in said
    assert facts("flava-tiny/text")["status"] != "finished"
    assert not (home / "runs/flava-tiny/text/model.safetensors").exists()
    kept = saved(home / f"runs/flava-tiny/text/checkpoints/step-{last:08d}")["weights"]
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_weights_that_are_no_number(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the losses that read the image encoder are named; the text's are fine."""
    assert call(*JOINT, "stages.joint=null") == 0
    path = home / "runs/poisoned/image/model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.startswith("image.") and name.endswith("norm.weight"))
    save_file(weights | {name: torch.full_like(weights[name], float("nan"))}, path)
    exchanged("poisoned/image")
    capsys.readouterr()
    assert call(*JOINT, PAIRS) == 1
    said = capsys.readouterr().err
    assert "poisoned/joint, step 0, stream pairs: the loss of itc, itm, mmm_image, mmm_text is not a" in said
    assert "no checkpoint was written yet" in said
    assert not (home / "runs/poisoned/joint/metrics.jsonl").exists()


def test_ruined_weights_are_not_saved(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The only checkpoint that is kept would be one of no numbers."""
    options = ["train", "clip-tiny", DEBUG, "steps=4", "evaluate=null", "checkpoint={every: 1, keep: 1}"]
    assert call(*options, "optimizer.lr=1e39") == 1
    said = capsys.readouterr().err
    assert "clip-tiny/train: after step 1 there are weights or moments that are not finite numbers" in said
    assert "no checkpoint was written yet" in said and "Traceback" not in said
    assert not (home / "runs/clip-tiny/train/checkpoints").exists()


def test_back_to_what_is_not_ruined_yet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The learning rate runs away: the newest checkpoint has numbers, but leads to none; the one before is tried."""
    options = ["train", "clip-tiny", DEBUG, "steps=30", "evaluate=null", "checkpoint={every: 5, keep: 4}"]
    options += ["optimizer={schedule: exponential, final_lr: 1.0e+30, warmup: 0, clip: null}"]
    assert call(*options, "faults={skip: 2, rollbacks: 2}") == 1
    said = capsys.readouterr().err
    back = [int(step) for step in re.findall(r"back to the checkpoint of step (\d+)", said)]
    assert len(back) == 2 and back[1] == back[0] - 5 >= 5
    assert f"from the checkpoint of step {back[0]} it came to the same end again; it is set aside" in said
    assert (home / f"runs/clip-tiny/train/checkpoints/step-{back[0]:08d}.ruined").is_dir()
    assert "gone back 2 times and on with other draws" in said and "faults.skip=10 faults.rollbacks=4 go on" in said
