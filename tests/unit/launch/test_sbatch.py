"""The script for SLURM is one that a shell can read, with the same command on every node."""

from __future__ import annotations

import subprocess

import pytest

from vltk.errors import VltkError
from vltk.launch.sbatch import script

ARGUMENTS = ["train", "flava", "name=a run", "steps=3"]


def test_script() -> None:
    text = script("flava", ARGUMENTS, nodes=4, gpus=8, restarts=2)
    for line in ("--nodes=4", "--ntasks-per-node=8", "--gpus-per-node=8", "--job-name=flava", "--signal=TERM@300"):
        assert f"#SBATCH {line}\n" in text
    assert "-m vltk train flava 'name=a run' steps=3\n" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (2, 1), (143, 1), (137, 3)])
def test_what_is_started_again(code: int, starts: int) -> None:
    """A rank that was killed is; a mistake is not, nor a run that was asked to stop, which goes into the queue."""
    fakes = f"srun() {{ echo started; return {code}; }}; scontrol() {{ echo queued; }}; SLURM_JOB_ID=1\n"
    text = fakes + script("flava", ARGUMENTS, nodes=1, gpus=1, restarts=2)
    done = subprocess.run(["bash"], input=text, capture_output=True, text=True)
    assert done.stdout.split().count("started") == starts and done.returncode == code
    assert ("queued" in done.stdout) == (code == 143)


def test_how_many_gpus() -> None:
    with pytest.raises(VltkError, match="how many GPUs has a node"):
        script("flava", ARGUMENTS, nodes=4, gpus=None, restarts=0)
