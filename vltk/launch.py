"""One process a GPU: started here through torchrun's own launcher, or by srun or mpirun, whose ranks are taken over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid

from vltk.errors import VltkError

# what a task of srun (not a batch script) and one of mpirun is told: tasks, this task, this task on its node
TOLD = (
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
)
PATIENCE = str(2 * 3600)  # seconds that processes told to stop may take to end their step and save it
PORTS = range(20_000, 40_000)


def yield_cores() -> None:
    """Threads of OpenMP that wait sleep instead of spinning, unless the user says otherwise; before torch is imported.

    Spinning threads hold the cores that another busy process, or the loader, could use.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def adopt() -> None:
    """Says in torchrun's variables what srun or mpirun said in theirs, where one of them started several tasks.

    Raises VltkError where the node of the first task is not known.
    """
    if "WORLD_SIZE" in os.environ:
        return
    for names in TOLD:
        if int(os.environ.get(names[0], "1")) > 1 and names[1] in os.environ:
            found = zip(("WORLD_SIZE", "RANK", "LOCAL_RANK"), names, strict=True)
            told = {ours: os.environ[theirs] for ours, theirs in found}
            if "MASTER_ADDR" not in os.environ:
                os.environ["MASTER_ADDR"] = _first_node()
            os.environ.setdefault("MASTER_PORT", str(PORTS[int(os.environ.get("SLURM_JOB_ID", "9500")) % len(PORTS)]))
            os.environ.update(told)
            return


def _first_node() -> str:
    """The name of the node where task 0 runs."""
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "")
    if nodes and not set(nodes) & set("[,"):
        return nodes
    if nodes and shutil.which("scontrol"):
        shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=False)
        if shown.returncode == 0 and shown.stdout.split():
            return shown.stdout.split()[0]
    if os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == os.environ.get("OMPI_COMM_WORLD_SIZE", ""):
        return "localhost"
    raise VltkError(
        "this is one of several tasks on several nodes, and the node of the first one is not known here: "
        "set MASTER_ADDR to its name before srun or mpirun"
    )


def processes(asked: int | None) -> int:
    """How many processes this command should become: 1 where a launcher (torchrun, srun, mpirun) has started it."""
    if asked == 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
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
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", PATIENCE)
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
