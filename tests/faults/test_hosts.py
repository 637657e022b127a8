"""Two hosts for real, over ssh: what happens when the cable is cut, a host dies or torchrun starts the ranks."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import DEBUG, losses, vltk_process, weights
from tests.hosts import ADDRESSES, Hosts, two_hosts

pytestmark = pytest.mark.slow
RUN = ["clip-tiny", DEBUG, "steps=60", "checkpoint.every=20", "log_every=5", "evaluate=null"]
LIMIT = 60.0  # seconds within which all have to know


@pytest.fixture
def hosts(home: Path) -> Iterator[Hosts]:
    folder = home / "keys"
    folder.mkdir()
    with two_hosts(folder) as both:
        yield both


def until_saved(launcher: subprocess.Popen[bytes], name: str, output: Path) -> None:
    deadline = time.monotonic() + 120
    while not Path(f"runs/{name}/train/checkpoints/step-00000020").exists():
        assert launcher.poll() is None and time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


def until_ended(pids: list[int]) -> float:
    began = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() - began < 2 * LIMIT
        time.sleep(0.1)
    return time.monotonic() - began


def test_two_hosts_equal_two_processes(hosts: Hosts) -> None:
    assert vltk_process("train", *RUN, "name=whole", "--gpus", "2").returncode == 0
    output = Path("two.out")
    launcher = hosts.vltk(0, "train", *RUN, "name=two", "--hostfile", str(hosts.hostfile()), output=output)
    assert launcher.wait(120) == 0, output.read_text()
    assert weights("two/train") == weights("whole/train")
    assert "on 10.77.0.2" in Path("runs/two/train/ranks/1.log").read_text()


@pytest.mark.parametrize("what", ["cut", "kill"])
def test_a_host_is_gone(what: str, hosts: Hosts) -> None:
    """All know within a minute; the run goes on by itself with the host that is left, with the same global batch."""
    assert vltk_process("train", *RUN, "name=whole", "--gpus", "2").returncode == 0
    output = Path(f"{what}.out")
    options = ["train", *RUN, f"name={what}", "--max-restarts", "1", "--hostfile", str(hosts.hostfile())]
    launcher = hosts.vltk(0, *options, output=output)
    until_saved(launcher, what, output)
    ranks = hosts.ranks(0) + hosts.ranks(1)
    assert len(ranks) == 2
    hosts.cut() if what == "cut" else hosts.kill(1)
    assert until_ended(ranks) < LIMIT
    assert launcher.wait(180) == 0, output.read_text()
    said = output.read_text()
    assert f"start 1 of at most 1 again: 1 ranks on {ADDRESSES[0]}" in said and "Traceback" not in said
    assert re.search(r"going on from step [246]0", said)
    for (step, _, found), (_, _, expected) in zip(losses(f"{what}/train"), losses("whole/train"), strict=True):
        assert found == pytest.approx(expected, rel=1e-4), step


def test_torchrun(hosts: Hosts) -> None:
    """Its rendezvous over both hosts, which are told who they are, as both go by the name of this machine."""
    assert vltk_process("train", *RUN, "name=whole", "--gpus", "2").returncode == 0
    rendezvous = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:29400"]
    command = [sys.executable, "-m", "torch.distributed.run", *rendezvous]
    own = ["-m", "vltk", "train", *RUN, "name=torchrun"]
    outputs = [Path(f"torchrun-{host}.out") for host in range(2)]
    both = [
        hosts.start(host, *command, f"--local-addr={ADDRESSES[host]}", *_is_host(host), *own, output=output)
        for host, output in enumerate(outputs)
    ]
    for one, output in zip(both, outputs, strict=True):
        assert one.wait(120) == 0, output.read_text()
    assert weights("torchrun/train") == weights("whole/train")


def _is_host(host: int) -> list[str]:
    """Whether the store of the rendezvous lives there."""
    return ["--rdzv-conf", f"is_host={int(host == 0)}"]
