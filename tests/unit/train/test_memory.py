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
