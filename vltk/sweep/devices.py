"""How the machine is shared: what each of the runs that train at one time may use, as environment variables."""

from __future__ import annotations

import os


def slots(jobs: int | None) -> list[dict[str, str]]:
    """The environment of each run at a time: its GPUs and its share of the CPU's threads.

    jobs: how many at a time; None: one a GPU, and one on a CPU. Fewer than there are GPUs: each has several, and trains
    on all of them. More: they share.
    """
    gpus = _gpus()
    count = jobs or max(len(gpus), 1)
    if not gpus:
        return [_threads(count) for _ in range(count)]
    dealt = [gpus[slot::count] or [gpus[slot % len(gpus)]] for slot in range(count)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(own)} | _threads(count * len(own)) for own in dealt]


def _gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()  # asks the driver, and takes no memory on any
    told = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (told.split(",") if told else [str(number) for number in range(count)])[:count]


def _threads(processes: int) -> dict[str, str]:
    """A share of the cores this process may use, unless the user has said how many threads there should be."""
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(len(os.sched_getaffinity(0)) // processes, 1))}
