"""What this machine computes with, and how much room it has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vltk.data.dataset import data_root
from vltk.doctor.finding import Finding
from vltk.run import RUNS

GIB = 2**30
LITTLE_MEMORY, LITTLE_ROOM = 8, 20  # GiB
REMEDIES = {  # of little room
    "runs": "start vltk on a larger disk, or keep fewer checkpoints (3 GiB each at the base size): checkpoint.keep=1",
    "data": "set VLTK_DATA to a folder on a larger disk",
}


def findings() -> Iterator[Finding]:
    """Processor, memory, GPUs, the backend that joins processes, and free space where runs and data lie."""
    yield _processor()
    yield from _gpus()
    yield _backend()
    for what, place in (("runs", RUNS), ("data", data_root())):
        yield _room(what, place)


def _processor() -> Finding:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    found = f"{cores} cores, {memory:.0f} GiB of memory"
    if memory < LITTLE_MEMORY:
        return Finding.warn("processor", found, "small recipes only: batches of 128 small images take about 4 GiB")
    return Finding.good("processor", found)


def _gpus() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        found = f"none that torch {torch.__version__} sees"
        if Path("/proc/driver/nvidia").exists() and built is None:
            yield Finding.warn("GPU", f"{found}, but a driver is there", "install a CUDA build of torch")
        else:
            yield Finding.good("GPU", f"{found}: training runs on the CPU")
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        found = f"{facts.name}, {facts.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}"
        if torch.cuda.is_bf16_supported(including_emulation=False):
            yield Finding.good(f"GPU {number}", found)
        else:
            yield Finding.warn(f"GPU {number}", f"{found}, without bf16", "set precision=fp32 in recipes")


def _backend() -> Finding:
    import torch
    import torch.distributed as torch_dist

    wanted = "nccl" if torch.cuda.is_available() else "gloo"
    if not torch_dist.is_available() or not getattr(torch_dist, f"is_{wanted}_available")():
        return Finding.fail("backend", f"torch was built without {wanted}", "install torch from its own wheels")
    release = f" {'.'.join(map(str, torch.cuda.nccl.version()))}" if wanted == "nccl" else ""
    return Finding.good("backend", f"{wanted}{release}")


def _room(what: str, place: Path) -> Finding:
    """Free space below `place`, or where it would be made; and whether that can be written."""
    there = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    if not there.is_dir():
        return Finding.fail(what, f"{there} is no folder", f"move it away: vltk makes folders at {place.absolute()}")
    free = shutil.disk_usage(there).free / GIB
    if not os.access(there, os.W_OK):
        return Finding.fail(what, f"{there} cannot be written", "start vltk in a folder of yours, or set VLTK_DATA")
    if free < LITTLE_ROOM:
        return Finding.warn(what, f"{free:.0f} GiB free in {there}", REMEDIES[what])
    return Finding.good(what, f"{free:.0f} GiB free in {there}")
