"""One process a GPU through torchrun's own launcher, with exit codes kept and no traceback of the launcher."""

from __future__ import annotations

import os
import sys
import uuid

from vltk.errors import VltkError


def processes(asked: int | None) -> int:
    """How many processes this command should become: 1 where a launcher (torchrun, srun, mpirun) has started it."""
    tasks = (os.environ.get(name, "1") for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    if asked == 1 or any(int(task) > 1 for task in tasks):
        return 1
    import torch

    gpus = torch.cuda.device_count()
    if asked is not None and 0 < gpus < asked:
        raise VltkError(f"--gpus {asked}: this machine has {gpus}")
    return max(asked or gpus, 1)


def spread(count: int, arguments: list[str]) -> int:
    """Runs `vltk ARGUMENTS` in `count` processes that form one group; the exit code of the first that failed."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "vltk", *arguments)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code  # a negative code is the signal that ended it
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
