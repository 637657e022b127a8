"""What training says of an evaluation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vltk.train import loop


def test_the_scores_of_a_task_stand_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(loop, "keep_best", lambda *given: kept.append(given[1]))
    said = [("dev", "accuracy", 50.0, 20), ("dev", "F1", 66.6667, 20), ("other", "loss", 0.5, 8)]
    rows = [dict(zip(("task", "metric", "value", "n"), one, strict=True)) for one in said]
    setup: Any = SimpleNamespace(name="joint", trained=lambda done: None)
    loop._score(setup, lambda _: rows, 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["joint 5  dev: accuracy 50.0000  F1 66.6667  n 20", "joint 5  other: loss 0.5000  n 8"]
    assert kept == [rows]
