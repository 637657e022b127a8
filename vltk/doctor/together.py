"""Whether two processes of this machine find one another and can sum a tensor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

from vltk.doctor.finding import Finding

WHAT = "two processes"
PATIENCE = 120  # seconds
WORK = """
import torch
from vltk import dist
dist.start()
total = dist.sum_over_ranks(torch.tensor([dist.rank() + 1.0], device=dist.device()))
assert total.item() == sum(range(1, dist.world() + 1)), total
dist.stop()
"""


def findings() -> Iterator[Finding]:
    """torchrun starts two processes here (on GPUs: two GPUs) that sum a tensor."""
    import torch

    if torch.cuda.device_count() == 1:
        yield Finding.good(WHAT, "not tried: there is one GPU, and each process needs its own")
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", WORK],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        yield Finding.fail(WHAT, f"no answer in {PATIENCE} s", _remedy())
        return
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        yield Finding.fail(WHAT, lines[0].strip()[:160] if lines else f"exit code {done.returncode}", _remedy())
    else:
        yield Finding.good(WHAT, f"summed a tensor; {time.perf_counter() - start:.1f} s with their start")


def _remedy() -> str:
    """What mostly is the matter: names and interfaces of the network."""
    return (
        "see that localhost resolves and no firewall stands on it; NCCL_DEBUG=INFO and GLOO_SOCKET_IFNAME=lo tell more"
    )
