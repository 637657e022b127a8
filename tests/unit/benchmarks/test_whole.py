"""The benchmark of a whole run: turns of the real loop, and before each the same steps alone as the loader sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import whole
from benchmarks.whole import Interrupted, Turn
from tests.unit.benchmarks.toy import RECIPE
from vltk.errors import VltkError


class Batches:
    """A loader of 9 steps, of streams a and b in turns, that notes what was asked for."""

    steps, prefetch, wait_seconds, streams = 9, 1, 0.0, {}
    mixture = SimpleNamespace(stream_at=lambda step: "ab"[step % 2])

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        for step in range(self.steps):
            self.seen.append(step)
            self.wait_seconds += 0.5
            yield step, "ab"[step % 2], []


def test_the_same_steps_go_before_alone_and_the_last_one_is_in_no_turn() -> None:
    batches: Any = Batches()

    def alone(step: int, stream: str) -> float:
        batches.seen.append(f"{step}{stream}")
        return 0.25

    interrupted = Interrupted(batches, 3, alone)
    assert [step for step, _, _ in interrupted] == list(range(9))
    first, second = (["2a", "3b", "4a"], ["5b", "6a", "7b"])  # each behind as many that are not counted
    assert batches.seen == [0, 1, *first, *first, 2, 3, 4, *second, *second, 5, 6, 7, 8]
    assert [(turn.first, turn.waited, turn.alone) for turn in interrupted.turns] == [(2, 1.5, 0.75), (5, 1.5, 0.75)]
    assert all(0 < turn.seconds < 5 for turn in interrupted.turns)


def test_a_run_is_trained_to_its_end(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "toy.yaml").write_text(RECIPE)
    turns = whole.measure("toy.yaml", ["steps=9"], None, 3)
    assert [turn.first for turn in turns] == [2, 5] and not Path("runs").exists()
    assert all(turn.seconds > 0 and turn.alone > 0 and 0 <= turn.waited < turn.seconds for turn in turns)
    assert not capsys.readouterr().err


def test_what_it_cannot_measure(home: Path) -> None:
    (home / "toy.yaml").write_text(RECIPE)
    with pytest.raises(VltkError, match="--stage joint: the recipe toy has train"):
        whole.measure("toy.yaml", [], "joint", 3)
    with pytest.raises(VltkError, match="--turn 7: the stage train has 9 steps; type 6 at the most"):
        whole.measure("toy.yaml", ["steps=9"], None, 7)
    with pytest.raises(VltkError, match="--turn 3: the stage train has 3 steps: too few for any turn"):
        whole.measure("toy.yaml", ["steps=3"], None, 3)


def test_the_table() -> None:
    rows = whole.table([Turn(2, 4.0, 0.5, 3.0), Turn(5, 2.0, 0.0, 2.0)], 3).splitlines()
    assert rows[2] == "| 3 to 5 | 4.00 | 0.50 | 3.00 | 75.0% |"
    assert rows[4:] == ["| all | 6.00 | 0.50 | 5.00 | 83.3% |", "", "median of the turns 87.5%"]
