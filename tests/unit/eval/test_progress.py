"""How far an evaluation is, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from vltk.eval import progress
from vltk.eval.evaluation import DONE, FAILED, Evaluation
from vltk.eval.progress import Progress


def test_what_failed_tells_nothing_of_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [90_000.0]  # the machine has been up for a day
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    lines = Progress("run")
    lines.begin({"a": 4.0, "b": 2.0, "c": 3.0})
    for task, seconds, status in (("a", 1, FAILED), ("b", 20, DONE)):
        lines.start(task)
        now[0] += seconds
        lines.end(task, Evaluation(Path(), {"status": status}), "")
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("a (1 of 3): failed, 0:01")
    assert second.endswith("b (2 of 3): 0:20; all: 0:30 left")
