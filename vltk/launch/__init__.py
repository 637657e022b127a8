"""One process a GPU: started here on one machine or many (`spread`), or by torchrun, srun or mpirun, whose ranks are
taken over."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

from vltk.errors import VltkError

if TYPE_CHECKING:
    from pathlib import Path

    from vltk.launch.hostfile import Host

# what a task of srun (not a batch script) and one of mpirun is told: tasks, this task, this task on its node
TOLD = (
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
)
PORTS = range(20_000, 40_000)
PR_SET_PDEATHSIG = 1


def before_torch() -> None:
    """What the command line sets before torch is imported, unless the user says otherwise.

    Threads of OpenMP that wait look for work two thousand times (tens of microseconds, GNU's library) and sleep then.
    Sleeping at once costs small steps a fifth to more than a third of their pace, as many of their operators are short;
    looking on holds the cores that the loader, or another busy process, could use (benchmarks/results/train_step.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


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


def die_with_launcher() -> None:
    """A rank that one of our launchers has started ends when that process does, however it ends."""
    launcher = int(os.environ.get("VLTK_LAUNCHER", "0"))
    if launcher and is_rank():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os.kill(os.getpid(), signal.SIGKILL)


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
    if asked == 1 or world() > 1:
        return 1
    import torch

    gpus = torch.cuda.device_count()
    if asked is not None and 0 < gpus < asked:
        raise VltkError(f"--gpus {asked}: this machine has {gpus}")
    return max(asked or gpus, 1)


def places(asked: int | None, hostfile: Path | None = None, restarts: int = 0) -> list[Host]:
    """The machines that this command should start its ranks on; none where it is to do the work itself."""
    from vltk.launch.hostfile import Host, hosts

    if is_rank():
        return []
    if hostfile is not None:
        if asked is not None:
            raise VltkError("--gpus does not go with --hostfile, where slots= says how many processes each host gets")
        return hosts(hostfile)
    count = processes(asked)
    return [Host("localhost", count)] if count > 1 or restarts else []


def is_rank() -> bool:
    """Whether a launcher has started this process, mostly as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def world() -> int:
    """How many processes work together, as their launcher said."""
    return int(os.environ.get("WORLD_SIZE", "1"))
