"""Evaluation during training: a failure costs no step, and the best weights are those of an unbroken run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness import DEBUG, call, facts, losses, rows, weights
from vltk import pipeline
from vltk.errors import VltkError
from vltk.train.signals import Signals

OPTIONS = ["train", "clip-tiny", DEBUG, "steps=6", "checkpoint={every: 2, keep: 1}", "log_every=3"]
OPTIONS += ["evaluate.every=2", "evaluate.best=dev text_to_image median rank"]


def metrics(run: str) -> list[tuple[int, str, float]]:
    return [(row["step"], row["metric"], row["value"]) for row in rows(f"{run}/train", "results.jsonl")]


def scored(monkeypatch: pytest.MonkeyPatch, ranks: dict[int, float], fails_at: int = 0) -> None:
    """Evaluation finds these median ranks at these steps, and fails at one of them."""
    from vltk.eval import results

    def evaluator(tasks: Any, path: Path) -> Any:
        def score(trained: Any) -> list[dict[str, Any]]:
            if trained.step == fails_at:
                raise VltkError("the disk of the dev set is gone\nmore about it")
            row = {"task": "dev", "metric": "text_to_image median rank", "value": ranks[trained.step], "n": 12}
            results.append(path, [row | {"step": trained.step, "run": "x"}])
            return [row]

        return score

    monkeypatch.setattr(pipeline, "evaluator", evaluator)


def test_a_failing_evaluation_costs_no_step(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was trained is saved first; run.json says what happened; the next start evaluates, and goes on."""
    ranks = {2: 6.0, 4: 3.0, 6: 5.0}
    scored(monkeypatch, ranks)
    assert call(*OPTIONS, "name=whole") == 0
    scored(monkeypatch, ranks, fails_at=4)
    assert call(*OPTIONS, "name=broken") == 1
    found = facts("broken/train")
    assert (found["status"], found["step"], found["error"]) == ("failed", 4, "the disk of the dev set is gone")
    assert sorted(path.name for path in Path("runs/broken/train").glob("best-*")) == ["best-00000002.safetensors"]
    scored(monkeypatch, ranks)
    assert call(*OPTIONS, "name=broken") == 0
    assert "going on from step 4" in capsys.readouterr().out
    assert "error" not in facts("broken/train") and facts("broken/train")["status"] == "finished"
    assert facts("broken/train")["weights_step"] == facts("whole/train")["weights_step"] == 4  # the smallest rank
    assert metrics("broken") == metrics("whole") and weights("broken/train") == weights("whole/train")
    assert not list(Path("runs").glob("*/*/best-*"))


def test_best_weights_of_steps_that_are_trained_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed behind an evaluation: what it kept is not taken for what the checkpoint knows."""
    scored(monkeypatch, {2: 6.0, 4: 7.0, 6: 7.0})
    assert call(*OPTIONS, "name=whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(Signals, "asked", lambda self: 2)
        assert call(*OPTIONS, "name=broken") == 130
        assert call(*OPTIONS, "name=broken") == 130
    folder = Path("runs/broken/train")
    assert not list(folder.glob("best-*"))  # the evaluation of step 2 comes with the next start
    (folder / "best-00000004.safetensors").write_bytes(b"of another time")
    assert call(*OPTIONS, "name=broken") == 0
    assert facts("broken/train")["weights_step"] == 2 and weights("broken/train") == weights("whole/train")


def test_the_best_weights_are_damaged(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are not what the run ends with."""
    scored(monkeypatch, {2: 6.0}, fails_at=4)
    assert call(*OPTIONS) == 1
    kept = Path("runs/clip-tiny/train/best-00000002.safetensors")
    content = bytearray(kept.read_bytes())
    content[-5] ^= 1
    kept.write_bytes(content)
    scored(monkeypatch, {4: 7.0, 6: 7.0})
    assert call(*OPTIONS) == 1
    assert "the best weights: best-00000002.safetensors does not have its checksum; put" in capsys.readouterr().err
    assert not Path("runs/clip-tiny/train/model.safetensors").exists()


def test_a_checkpoint_closes_the_window_that_is_logged(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the means of an unbroken run and of one that was killed are over the same steps."""
    assert call(*OPTIONS, "name=whole") == 0
    assert [step for step, _, _ in losses("whole/train")] == [2, 3, 4, 6]
    scored(monkeypatch, {2: 1.0, 4: 1.0}, fails_at=4)
    assert call(*OPTIONS, "name=broken") == 1
    scored(monkeypatch, {4: 1.0, 6: 1.0})
    assert call(*OPTIONS, "name=broken") == 0
    assert losses("broken/train") == losses("whole/train")


def test_how_weights_are_judged_belongs_to_what_a_run_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*OPTIONS) == 0
    assert call(*OPTIONS, "evaluate.every=3") == 2
    assert "evaluate.every: was 2, is 3" in capsys.readouterr().err
    assert call(*OPTIONS, "evaluate.best=dev text_to_image R@1") == 2
    assert "evaluate.best: was dev text_to_image median rank, is dev text_to_image R@1" in capsys.readouterr().err
