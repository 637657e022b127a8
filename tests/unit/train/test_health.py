"""A training that has failed is named once it has been so for long, and seldom after that."""

from __future__ import annotations

from typing import Any

import pytest

from tests import tiny
from vltk.train.health import Health


def test_warns_after_some_rows_and_whenever_they_have_doubled(capsys: pytest.CaptureFixture[str]) -> None:
    health = Health("run/image", tiny.dino(tiny.flava(text=None, fusion=None)))
    bad: dict[str, Any] = {"teacher_entropy": 3.178, "mean_target_entropy": 3.178}
    good = bad | {"teacher_entropy": 1.0}
    said = []
    for step, metrics in enumerate([bad] * 3 + [good] + [bad] * 9):
        health.look({"step": step, "stream": "all", "metrics": metrics})
        if text := capsys.readouterr().err:
            said.append((step, text))
    assert [step for step, _ in said] == [7, 11]
    assert "run/image, step 7: all.dino has collapsed: the teacher's output is uniform (entropy 3.178" in said[0][1]
    assert "in 4 rows of the log" in said[0][1]


def test_other_objectives_are_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Health("run/text", tiny.pretraining(tiny.flava(), "mlm")).look({"step": 1, "stream": "all", "metrics": {}})
    assert capsys.readouterr().err == ""
