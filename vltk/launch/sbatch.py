"""A script for SLURM that runs the same command on every node."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

GPUS = 8  # of a node, where it is not said
WARNING = 300  # seconds before the time is up at which a run is asked to save and stop
SCRIPT = """\
#!/bin/bash
# What stands behind sbatch on its command line goes before the lines here: sbatch --time 2-0 --partition NAME SCRIPT
# Nodes and GPUs of a node: vltk train ... --sbatch --nodes {nodes} --gpus {gpus}
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={gpus}
#SBATCH --gpus-per-node={gpus}
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@{warning}
cd {folder}
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}
for start in $(seq 0 {restarts}); do
  srun --kill-on-bad-exit=1 {command}
  code=$?
  case $code in
    0 | 1 | 2 | 3) exit $code ;;                                       # done, or a mistake that a start would not mend
    143) scontrol requeue "$SLURM_JOB_ID"; exit 143 ;;                 # the time was up, and the run has saved
  esac
done
exit $code
"""


def script(name: str, arguments: Sequence[str], nodes: int, gpus: int, restarts: int) -> str:
    """The script; `gpus` a node, each with a task of its own."""
    command = shlex.join([sys.executable, "-m", "vltk", *arguments])
    return SCRIPT.format(
        name=shlex.quote(name), nodes=nodes, gpus=gpus, restarts=restarts, warning=WARNING,
        folder=shlex.quote(os.getcwd()), command=command,
    )  # fmt: skip
