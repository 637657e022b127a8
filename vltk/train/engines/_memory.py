"""Memory of the CPU that a step has freed is kept for the next one."""

from __future__ import annotations

import ctypes

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = (2**31 - 1, 32 * 2**20)  # bytes; old releases refuse what lies above half of a heap of threads, 32 MiB
_NEVER = -1


def keep_freed(device: torch.device) -> None:
    """Tells glibc, where it is the allocator, not to give large blocks back to the kernel when they are freed.

    It would get them back in the next step page by page, each filled with zeros first: up to a sixth of a step on a
    CPU. GPUs have torch's own allocator, which keeps what it has.
    """
    library = ctypes.CDLL(None)
    if device.type != "cpu" or not hasattr(library, "mallopt"):
        return
    # the second call alone would fix the threshold at its start, 128 KiB, and make every step slower
    if any(library.mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST):
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
