"""The benchmark of ZeRO, small: DeepSpeed in a process of its own, plain torch in this one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import zero
from benchmarks.joint import in_processes
from vltk.errors import VltkError

SMALL = (1, 32, 1, 4)  # rounds, width, depth, pairs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at it is a second behind the one before."""
    ticks: Iterator[float] = (float(number) for number in range(10_000))
    monkeypatch.setattr(zero.time, "perf_counter", lambda: next(ticks))


def test_deepspeed() -> None:
    row = zero.summed(2, 1, 4, in_processes(1, zero.measure, 2, *SMALL))
    assert (row["engine"], row["processes"]) == ("ZeRO-2", 1)
    assert row["samples"] == pytest.approx(4 / row["turns"]) and row["ratio"] > 0
    assert 0 < row["predicted"] < row["tensors"] and row["resident"] > 0
    assert zero._line(row | {"speedup": 1.0}).count(" | ") == 9


def test_plain_torch(clock: None) -> None:
    found = zero.measure(None, *SMALL)
    assert (found["constant"], found["turns"]) == (1, 1)
    assert 0.9 * found["predicted"] < found["tensors"]


def test_the_slowest_rank_counts() -> None:
    ranks = [{"constant": 1.0, "turns": 3.0}, {"constant": 2.0, "turns": 1.0}]
    every = [rank | {"resident": n, "tensors": 5 - n, "predicted": 7} for n, rank in enumerate(ranks)]
    row = zero.summed(None, 2, 6, every)
    assert (row["constant"], row["turns"], row["ratio"], row["samples"]) == (2, 3, 1.5, 2)
    assert (row["resident"], row["tensors"], row["predicted"]) == (1, 5, 7)


def test_batches_are_cut_evenly() -> None:
    assert zero.divided(16, [1, 2, 4]) == 16
    with pytest.raises(VltkError, match="among --processes 2,3: type --batch 18"):
        zero.divided(16, [2, 3])
