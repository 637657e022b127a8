"""Tasks of srun and mpirun become ranks; what is not known is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as torch_dist

from vltk import dist
from vltk.errors import VltkError
from vltk.launch import adopt, processes, spread

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


def test_the_others_wait_while_the_first_one_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(torch_dist, "init_process_group", lambda backend, **options: asked.update(options))
    os.environ["WORLD_SIZE"] = "2"
    dist.start()
    assert asked["timeout"] >= timedelta(hours=2)


def test_processes_told_to_stop_have_the_time_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch kills them after 30 seconds, which a step of a large model outlasts."""
    from torch.distributed.launcher import api

    found = {}

    def elastic_launch(config: api.LaunchConfig, program: str) -> Callable[..., None]:
        found["timeout"] = config.shutdown_timeout
        return lambda *arguments: None

    monkeypatch.setattr(api, "elastic_launch", elastic_launch)
    monkeypatch.delenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert spread(2, []) == 0
    assert found["timeout"] >= 3600
