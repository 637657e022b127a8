"""Checkpoints are written beside training: it does not wait, and it hears of errors."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vltk import checkpoint
from vltk.checkpoint import Piece, Saved, shared, writing
from vltk.errors import VltkError
from vltk.recipe import Checkpoints
from vltk.train.saving import Saver


def pieces(value: float) -> Iterator[Piece]:
    return shared([("weights", "a", torch.full((1000,), value))], 0, 1)


class Gate:
    """Holds the writing thread until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        real = writing.write

        def wait(path: Path, *more: Any) -> Any:
            self.reached.set()
            assert self.open.wait(10)
            return real(path, *more)

        monkeypatch.setattr(writing, "write", wait)


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, weight, noted = Gate(monkeypatch), torch.ones(5), list[int]()
    facts: dict[str, Any] = {"best": {"value": 1}}
    with Saver(tmp_path, Checkpoints(), noted=noted.append) as saver:
        saver.save(3, shared([("weights", "a", weight)], 0, 1), facts)
        assert gate.reached.wait(10) and checkpoint.steps(tmp_path) == []
        weight.zero_()
        facts["best"]["value"] = 2
        saver.look()
        assert noted == []
        gate.open.set()
        saver.finish()
        assert checkpoint.steps(tmp_path) == noted == [3]
    saved = Saved(tmp_path / "step-00000003")
    assert saved.tensor("weights", "a").tolist() == [1] * 5 and saved.facts == {"best": {"value": 1}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_saved(value: float, tmp_path: Path) -> None:
    """One of many; whole numbers and empty tensors are as they are."""
    steps, none = torch.tensor([3]), torch.zeros(0)
    spoilt = torch.ones(1000).index_fill(0, torch.tensor([7]), value)
    with Saver(tmp_path, Checkpoints()) as saver:
        assert saver.save(1, shared([("weights", "a", spoilt.nan_to_num()), ("steps", "a", steps)], 0, 1), {})
        assert not saver.save(2, shared([("weights", "a", spoilt), ("weights", "b", none)], 0, 1), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_it_waits_where_it_is_told_to(tmp_path: Path) -> None:
    with Saver(tmp_path, Checkpoints(asynchronous=False)) as saver:
        saver.save(3, pieces(1), {})
        assert checkpoint.steps(tmp_path) == [3]


def test_one_at_a_time_in_order(tmp_path: Path) -> None:
    with Saver(tmp_path, Checkpoints(keep=2)) as saver:
        for step in (1, 2, 3):
            saver.save(step, pieces(step), {})
            assert checkpoint.steps(tmp_path) in ([*range(step - 1, 0, -1)][:2], [*range(step, 0, -1)][:2])
    assert checkpoint.steps(tmp_path) == [3, 2]
    assert Saved(tmp_path / "step-00000003").tensor("weights", "a")[0] == 3


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_is_shown_in_a_later_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(VltkError, match=r"step 2 not written(.|\n)*step-00000001 is untouched"),
        Saver(tmp_path, Checkpoints()) as saver,
    ):
        saver.save(1, pieces(1), {})
        saver.finish()
        monkeypatch.setattr(writing, "write", full)
        saver.save(2, pieces(2), {})
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            saver.look()
            time.sleep(0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_an_error_in_finishing_is_shown_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_replace", full)
    with pytest.raises(VltkError, match="step 2 not written"), Saver(tmp_path, Checkpoints()) as saver:
        saver.save(2, pieces(2), {})
    assert list(tmp_path.iterdir()) == []


def test_what_was_begun_is_finished_behind_an_error_of_training(tmp_path: Path) -> None:
    noted: list[int] = []
    with pytest.raises(ZeroDivisionError), Saver(tmp_path, Checkpoints(), noted=noted.append) as saver:
        saver.save(4, pieces(4), {})
        raise ZeroDivisionError
    assert checkpoint.steps(tmp_path) == noted == [4]


def test_a_process_that_is_gone_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file will never come: the run ends soon, and the older checkpoint is still there."""
    monkeypatch.setattr("vltk.train.saving.PATIENCE", 0.2)
    with Saver(tmp_path, Checkpoints()) as saver:
        saver.save(1, pieces(1), {})
    monkeypatch.setattr("vltk.train.saving.dist.world", lambda: 2)
    monkeypatch.setattr("vltk.train.saving.dist.sum_over_ranks", lambda broken: broken)
    monkeypatch.setattr("vltk.train.saving.on_main", lambda work: work())
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError), Saver(tmp_path, Checkpoints()) as saver:
        saver.save(2, pieces(2), {})
        raise ZeroDivisionError
    assert time.monotonic() - start < 5
    found = checkpoint.newest_good(tmp_path)
    assert found is not None and found.step == 1
