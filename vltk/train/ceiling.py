"""The most that a device computes and moves, measured on it: what a step is compared with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

SHAPES = ((4096, 768, 3072), (4096, 3072, 768))  # rows, width in, width out: the MLP of a ViT-B
WIDER = 4  # times these, where a GPU would else wait for the next kernel
COPIED = 2**26  # numbers in fp32: 256 MiB, more than any cache holds


def products(device: torch.device, dtype: torch.dtype, seconds: float = 0.15) -> float:
    """FLOPs a second of `F.linear` at `SHAPES`, each run for so long, by its fastest call, as others may use the
    machine; a multiplication and an addition are two."""
    return fastest_and_median(device, dtype, seconds)[0]


def fastest_and_median(device: torch.device, dtype: torch.dtype, seconds: float = 0.15) -> tuple[float, float]:
    """The FLOPs a second of `products` by the fastest and by the median of the same calls."""
    work = fastest = median = 0.0
    scale = 1 if device.type == "cpu" else WIDER
    for shape in SHAPES:
        rows, inner, outer = (scale * side for side in shape)
        x = torch.randn(rows, inner, device=device, dtype=dtype)
        weight = torch.randn(outer, inner, device=device, dtype=dtype)
        calls = _seconds(lambda x=x, weight=weight: F.linear(x, weight), device, seconds)  # type: ignore[misc]
        work += 2 * rows * inner * outer
        fastest, median = fastest + min(calls), median + statistics.median(calls)
    return work / fastest, work / median


def copying(device: torch.device, seconds: float = 0.3) -> float:
    """Bytes a second that the fastest copy reads and writes."""
    source = torch.ones(COPIED, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(_seconds(lambda: target.copy_(source), device, seconds))


@torch.no_grad()
def _seconds(work: Callable[[], object], device: torch.device, least: float) -> list[float]:
    """Of the calls that fill `least` seconds behind a first one."""
    work()
    _wait(device)
    end, calls = time.perf_counter() + least, 1 if device.type == "cpu" else 4
    found: list[float] = []
    while (start := time.perf_counter()) < end:
        for _ in range(calls):
            work()
        _wait(device)
        found.append((time.perf_counter() - start) / calls)
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
