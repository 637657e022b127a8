"""The most that a device computes and moves, measured on it: what a step is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

SHAPES = ((4096, 768, 3072), (4096, 3072, 768))  # rows, width in, width out: the MLP of a ViT-B
WIDER = 4  # times these, where a GPU would else wait for the next kernel
COPIED = 2**26  # numbers in fp32: 256 MiB, more than any cache holds


def products(device: torch.device, dtype: torch.dtype, seconds: float = 0.15) -> float:
    """FLOPs a second of `F.linear` at `SHAPES`, each run for so long; a multiplication and an addition are two."""
    work = spent = 0.0
    scale = 1 if device.type == "cpu" else WIDER
    for shape in SHAPES:
        rows, inner, outer = (scale * side for side in shape)
        x = torch.randn(rows, inner, device=device, dtype=dtype)
        weight = torch.randn(outer, inner, device=device, dtype=dtype)
        each = _seconds(lambda x=x, weight=weight: F.linear(x, weight), device, seconds)  # type: ignore[misc]
        work, spent = work + 2 * rows * inner * outer, spent + each
    return work / spent


def copying(device: torch.device, seconds: float = 0.3) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.ones(COPIED, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _seconds(lambda: target.copy_(source), device, seconds)


@torch.no_grad()
def _seconds(work: Callable[[], object], device: torch.device, least: float) -> float:
    """The fastest of the calls that fill `least` seconds behind a first one, as others may use the machine."""
    work()
    _wait(device)
    end, fastest, calls = time.perf_counter() + least, float("inf"), 1 if device.type == "cpu" else 4
    while (start := time.perf_counter()) < end:
        for _ in range(calls):
            work()
        _wait(device)
        fastest = min(fastest, (time.perf_counter() - start) / calls)
    return fastest


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
