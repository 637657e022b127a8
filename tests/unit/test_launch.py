"""Tasks of srun and mpirun become ranks; what is not known is asked for."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from vltk import dist
from vltk.errors import VltkError
from vltk.launch import adopt, before_torch, places, processes
from vltk.launch.hostfile import Host
from vltk.launch.machines import passed

SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "20007"}
MPIRUN = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
OURS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy without what a launcher would have said."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "OMPI")) and key not in OURS
    }
    monkeypatch.setattr(os, "environ", kept)


def ours() -> dict[str, str]:
    return {name: os.environ[name] for name in OURS if name in os.environ}


def test_no_launcher() -> None:
    adopt()
    assert ours() == {}


def test_a_batch_script_is_no_task() -> None:
    """sbatch says how many tasks the job may have; only srun starts them."""
    os.environ.update({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_NODELIST": "node1"})
    adopt()
    assert ours() == {}


def test_srun_on_one_node() -> None:
    os.environ.update(SRUN | {"SLURM_STEP_NODELIST": "node7"})
    adopt()
    assert ours() == {
        "WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "node7", "MASTER_PORT": "20007",
    }  # fmt: skip
    assert processes(None) == 1


def test_srun_on_several_nodes(tmp_path: Path) -> None:
    os.environ.update(SRUN | {"SLURM_STEP_NODELIST": "node[3-4]", "PATH": str(tmp_path)})
    with pytest.raises(VltkError, match="set MASTER_ADDR"):
        adopt()
    assert ours() == {}
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[3-4]" ] && echo node3 && echo node4\n')
    scontrol.chmod(0o755)
    adopt()
    assert ours()["MASTER_ADDR"] == "node3"


def test_an_address_that_is_given_stays() -> None:
    os.environ.update(
        SRUN | {"SLURM_STEP_NODELIST": "node[3-4]", "PATH": "", "MASTER_ADDR": "node3", "MASTER_PORT": "1"}
    )
    adopt()
    assert (ours()["MASTER_ADDR"], ours()["MASTER_PORT"]) == ("node3", "1")


def test_mpirun() -> None:
    os.environ.update(MPIRUN)
    adopt()
    assert (ours()["WORLD_SIZE"], ours()["RANK"], ours()["MASTER_ADDR"]) == ("2", "1", "localhost")


def test_mpirun_on_several_nodes() -> None:
    os.environ.update(MPIRUN | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"})
    with pytest.raises(VltkError, match="set MASTER_ADDR"):
        adopt()


def test_torchrun_has_the_last_word() -> None:
    os.environ.update(SRUN | {"WORLD_SIZE": "2", "RANK": "0"})
    adopt()
    assert ours() == {"WORLD_SIZE": "2", "RANK": "0"}


def test_the_others_wait_while_the_first_one_evaluates() -> None:
    """Who is dead or hangs is found by the pulse, not by the time limit of a collective."""
    assert timedelta(days=1) <= dist.TIMEOUT


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine alone, several ones, or none where this process is a rank already."""
    file = tmp_path / "hosts"
    file.write_text("a slots=4\nb slots=2\n")
    assert places(2) == [Host("localhost", 2)] and places(1) == []
    assert places(1, restarts=1) == [Host("localhost", 1)]
    assert places(None, file) == [Host("a", 4), Host("b", 2)]
    with pytest.raises(VltkError, match="--gpus does not go with --hostfile"):
        places(2, file)
    os.environ.update({"WORLD_SIZE": "1", "RANK": "0"})
    assert places(2) == places(None, file) == places(None, restarts=3) == []


WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ({}, ("PASSIVE", "2000")),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None)),
        ({"GOMP_SPINCOUNT": "7"}, ("PASSIVE", "7")),
    ],
)
def test_threads_wait_as_the_user_says(
    said: dict[str, str], waits: tuple[str | None, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again in a process that this one starts, which is told both."""
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k not in WAITING} | said)
    for _ in range(2):
        before_torch()
        assert tuple(os.environ.get(name) for name in WAITING) == waits


def test_other_machines_are_told_how_threads_wait() -> None:
    said = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "2000",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
        "HOME": "/",
    }
    assert set(passed(said)) == set(said) - {"HOME"}
