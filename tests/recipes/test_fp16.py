"""A run in fp16: steps that overflow are counted and leave everything as it is; it resumes bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.harness import DEBUG, call, losses, rows, saved, weights
from vltk.checkpoint import Saved
from vltk.train.engines import _scale
from vltk.train.signals import Signals

OPTIONS = ["train", "clip-tiny", DEBUG, "precision=fp16", "steps=6", "average=0.5", "checkpoint.keep=9"]


def state(run: str, step: int) -> Path:
    return Path(f"runs/{run}/train/checkpoints/step-{step:08d}")


def test_a_run_in_fp16(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scale, "START", 2.0**40)
    monkeypatch.setattr(_scale, "PATIENCE", 2)
    assert call(*OPTIONS, "name=whole") == 0
    logged = rows("whole/train")
    skipped = [row.get("skipped", 0) for row in logged]
    assert skipped[:2] == [1, 1] and len(skipped) == 6
    assert [row["metrics"]["loss_scale"] for row in logged[:3]] == [2.0**40, 2.0**39, 2.0**38]
    before, after = saved(state("whole", 1)), saved(state("whole", 2))
    assert set(before) == {"weights", "average"}  # no moments: nothing was stepped yet
    for kind, named in before.items():
        assert all(tensor.equal(after[kind][name]) for name, tensor in named.items())
    assert Saved(state("whole", 2)).facts["loss_scale"] == {"value": 2.0**38, "good": 0}
    monkeypatch.setattr(Signals, "asked", lambda self: signal.SIGINT)
    while call(*OPTIONS, "name=broken") == 130:
        assert len(losses("broken/train")) < 7
    assert losses("broken/train") == losses("whole/train") and weights("broken/train") == weights("whole/train")
    assert [row.get("skipped", 0) for row in rows("broken/train")] == skipped


def test_it_trains_once_the_scale_fits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scale, "START", 256.0)
    assert call(*OPTIONS, "name=low") == 0 and call(*OPTIONS, "precision=fp32", "name=full") == 0
    found, wanted = ([row["total"] for row in rows(f"{name}/train")] for name in ("low", "full"))
    assert found == pytest.approx(wanted, rel=0.02) and found != wanted
    assert not any(row.get("skipped") for row in rows("low/train"))
