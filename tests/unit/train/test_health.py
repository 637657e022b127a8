"""A training that has failed is named once it has been so for long, and seldom after that."""

from __future__ import annotations

import math
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


def test_a_loss_at_chance_is_named_once_it_should_have_left_it(capsys: pytest.CaptureFixture[str]) -> None:
    """ITM at the prior of its labels, the contrastive loss at ln of the batch (every training begins there)."""
    health = Health("run/joint", tiny.pretraining(tiny.flava(), "itc", "itm"), since=100)
    metrics = {"itm_matched": 1 / 3, "itc_chance": math.log(64)}
    chance = {"itm": 0.6365, "itc": 4.1589}
    for step in range(10, 110, 10):
        health.look({"step": step, "stream": "all", "losses": chance, "metrics": metrics})
    assert capsys.readouterr().err == ""
    for step in range(110, 150, 10):
        health.look({"step": step, "stream": "all", "losses": chance, "metrics": metrics})
    said = capsys.readouterr().err
    assert "run/joint, step 140: all.itm has learned nothing: its loss is 0.6365" in said
    assert "the share of matches, 33% (0.6365)" in said
    assert "all.itc has learned nothing: its loss is 4.1589, ln of the 64 pairs that are compared" in said
    for step in range(150, 250, 10):
        health.look({"step": step, "stream": "all", "losses": {"itm": 0.6, "itc": 4.0}, "metrics": metrics})
    assert capsys.readouterr().err == ""
