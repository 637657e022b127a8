"""The benchmark of a whole run: turns of the real loop, and behind each the same batches alone as the loader sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import whole
from benchmarks.whole import Interrupted, Turn
from tests.unit.benchmarks.toy import RECIPE
from vltk.errors import VltkError


class Batches:
    """A loader of 14 steps, of streams a and b in turns, with one ready at the most; it notes what was asked for."""

    steps, prefetch, wait_seconds, streams = 14, 1, 0.0, {}

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        for step in range(self.steps):
            self.seen.append(step)
            self.wait_seconds += 0.5
            yield step, "ab"[step % 2], [f"batch {step}"]


def test_the_same_batches_follow_alone_and_some_steps_are_in_no_turn() -> None:
    batches: Any = Batches()

    def alone(step: int, stream: str, given: Any) -> float:
        assert given == [f"batch {step}"]
        batches.seen.append(f"{step}{stream}")
        return 0.25

    interrupted = Interrupted(batches, 3, alone)
    assert [step for step, _, _ in interrupted] == list(range(14))
    first, second = (["3b", "4a", "5b"], ["9b", "10a", "11b"])  # each behind as many that are not counted
    assert batches.seen == [0, 1, 2, 3, 4, 5, *first, *first, 6, 7, 8, 9, 10, 11, *second, *second, 12, 13]
    assert [(turn.first, turn.waited, turn.alone) for turn in interrupted.turns] == [(3, 1.5, 0.75), (9, 1.5, 0.75)]
    assert all(0 < turn.seconds < 5 for turn in interrupted.turns)


def test_a_run_is_trained_to_its_end(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "toy.yaml").write_text(RECIPE)
    turns = whole.measure("toy.yaml", ["steps=13"], None, 3)
    assert [turn.first for turn in turns] == [3, 9] and not Path("runs").exists()
    assert all(turn.seconds > 0 and turn.alone > 0 and 0 <= turn.waited < turn.seconds for turn in turns)
    assert not capsys.readouterr().err


def test_what_it_cannot_measure(home: Path) -> None:
    (home / "toy.yaml").write_text(RECIPE)
    with pytest.raises(VltkError, match="--stage joint: the recipe toy has train"):
        whole.measure("toy.yaml", [], "joint", 3)
    with pytest.raises(VltkError, match="--turn 7: the stage train has 9 steps; type 5 at the most"):
        whole.measure("toy.yaml", ["steps=9"], None, 7)
    with pytest.raises(VltkError, match="--turn 3: the stage train has 3 steps: too few for any turn"):
        whole.measure("toy.yaml", ["steps=3"], None, 3)


def test_a_run_that_goes_back_is_not_measured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def goes_back(setup: Any) -> None:
        setup.loader, setup.watch.fault = None, "the loss is not a finite number"

    (home / "toy.yaml").write_text(RECIPE)
    monkeypatch.setattr(whole, "train", goes_back)
    with pytest.raises(VltkError, match="went back to its start .the loss is not a finite number"):
        whole.measure("toy.yaml", ["steps=13"], None, 3)


def test_the_table() -> None:
    rows = whole.table([Turn(2, 4.0, 0.5, 3.0), Turn(5, 2.0, 0.0, 2.0)], 3).splitlines()
    assert rows[2] == "| 3 to 5 | 4.00 | 0.50 | 3.00 | 75.0% |"
    assert rows[4:] == ["| all | 6.00 | 0.50 | 5.00 | 83.3% |", "", "median of the turns 87.5%"]
