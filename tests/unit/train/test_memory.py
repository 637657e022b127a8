"""Large blocks that were freed are there again without a page fault for each of their pages."""

from __future__ import annotations

import ctypes
import resource
import statistics

import pytest
import torch

from vltk.train.engines._memory import keep_freed

SIZE = 2**24  # numbers: 64 MiB, twice what glibc would keep at the most


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another allocator than glibc's")
def test_memory_is_kept_for_the_next_step() -> None:
    """Mostly: a small object that is made in between may take a bit of a block, which is then too small."""
    keep_freed(torch.device("cpu"))
    small = [torch.ones(1) for _ in range(1000)]
    del small[::2]  # what small objects are made of from here on
    rounds = []
    for _ in range(7):
        before = faults()
        torch.ones(SIZE)
        rounds.append(faults() - before)
    assert statistics.median(rounds) < SIZE * 4 / 4096 / 8


@pytest.mark.parametrize(
    ("largest", "asked"),
    [
        (2**31, [(-3, 2**31 - 1), (-1, -1)]),
        (2**25, [(-3, 2**31 - 1), (-3, 2**25), (-1, -1)]),
        (0, [(-3, 2**31 - 1), (-3, 2**25)]),
    ],
)
def test_old_libraries_take_less_or_nothing(
    monkeypatch: pytest.MonkeyPatch, largest: int, asked: list[tuple[int, int]]
) -> None:
    """Where no size is taken nothing else is set: a threshold fixed at 128 KiB would make every step slower."""
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, what: int, value: int) -> int:
            calls.append((what, value))
            return int(value <= largest)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    keep_freed(torch.device("cpu"))
    assert calls == asked
