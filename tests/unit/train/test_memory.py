"""Large blocks that were freed are there again without a page fault for each of their pages."""

from __future__ import annotations

import ctypes
import resource

import pytest
import torch

from vltk.train.engines._memory import keep_freed

SIZE = 2**24  # numbers: 64 MiB, twice what glibc would keep at the most


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another allocator than glibc's")
def test_memory_is_kept_for_the_next_step() -> None:
    keep_freed(torch.device("cpu"))
    torch.ones(SIZE)
    before = faults()
    torch.ones(SIZE)
    assert faults() - before < SIZE * 4 / 4096 / 8
