"""The script for SLURM is one that a shell can read, with the same command on every node."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness import call
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sbatch", "--nodes", "3", "--gpus", "7"], "cannot be shared equally by 21 processes; 16 or 32 processes"),
        (["--nodes", "4"], "--nodes goes with --sbatch"),
        (["--sbatch", "--hostfile", "hosts"], "--hostfile does not go with --sbatch"),
    ],
)
def test_mistakes(arguments: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "clip-tiny", *arguments) != 0
    found = capsys.readouterr()
    assert said in found.err and not found.out


def test_nodes_and_gpus_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """What is taken then stands at the head of the script."""
    assert call("train", "flava", "--sbatch") == 0
    text = capsys.readouterr().out
    assert "# Nodes and GPUs of a node: vltk train ... --sbatch --nodes 1 --gpus 8\n" in text
    assert "#SBATCH --nodes=1\n#SBATCH --ntasks-per-node=8\n#SBATCH --gpus-per-node=8\n" in text
    assert text.count("-m vltk train flava\n") == 1
