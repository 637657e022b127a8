"""Two processes of one command: one that dies or fails ends the other, is named, and a start by itself goes on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness import DEBUG, ROOT, SIZES, call, facts, losses, start, vltk_process, weights
from vltk.data.shard import write_dataset
from vltk.data.sources import shapes

OPTIONS = ["train", "clip-tiny", DEBUG, "steps=40", "checkpoint.every=10", "log_every=5", "evaluate=null"]
TWO = ["--gpus", "2"]


def rank_of(launcher: subprocess.Popen[str], rank: int | None, run: str, sign: str = "checkpoints/step-*[0-9]") -> int:
    """The process of a rank, or of any that this launcher has started, once the run has what `sign` matches."""
    deadline = time.monotonic() + 240
    while not list(Path(f"runs/{run}/train").glob(sign)):
        assert launcher.poll() is None and time.monotonic() < deadline, launcher.communicate()
        time.sleep(0.02)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    said = {pid: Path(f"/proc/{pid}/environ").read_text() for pid in children}
    found = [pid for pid, told in said.items() if ("\0RANK=" if rank is None else f"\0RANK={rank}\0") in told]
    return int(found[0])


def all_end(ranks: list[int]) -> None:
    """Within a minute."""
    deadline = time.monotonic() + 60
    while alive := [pid for pid in ranks if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def test_killed_and_started_again(home: Path) -> None:
    """Within seconds, and bit for bit as if nothing had happened."""
    assert vltk_process(*OPTIONS, *TWO, "name=whole").returncode == 0
    process = start(*OPTIONS, *TWO, "name=killed", "--max-restarts", "1")
    ranks = [rank_of(process, rank, "killed") for rank in (0, 1)]
    os.kill(ranks[1], signal.SIGKILL)
    all_end(ranks)
    said, complained = process.communicate(timeout=240)
    assert process.returncode == 0, complained
    assert complained.splitlines()[0].startswith("rank 1 on localhost: was ended by signal 9 (SIGKILL)")
    assert "start 1 of at most 1 again: 2 ranks on localhost" in said and "going on from step" in said
    assert "Traceback" not in complained
    assert losses("killed/train") == losses("whole/train") and weights("killed/train") == weights("whole/train")
    log = Path("runs/killed/train/ranks/1.log").read_text()
    assert log.count("--- rank 1 of 2 on localhost") == 2 and "lost the connection" in log or "killed/train" in log


def test_the_error_of_another_rank_is_shown(home: Path) -> None:
    """Once, with rank and host; the first rank ends with it, and a mistake is no reason to start again."""
    Path("runs/wrong/train/ranks/1.log").mkdir(parents=True)
    process = vltk_process(*OPTIONS, *TWO, "name=wrong")
    assert process.returncode == 70
    assert process.stderr.startswith("rank 1 on localhost: Traceback") and process.stderr.count("Traceback") == 1
    assert "IsADirectoryError" in process.stderr.splitlines()[-1]


def test_a_mistake_of_all_ranks(home: Path) -> None:
    """Is no one rank's: the message stands alone, as from one process."""
    assert call(*OPTIONS, "name=made", "steps=2") == 0
    process = vltk_process(*OPTIONS, *TWO, "name=made", "steps=2", "seed=5")
    assert process.returncode == 2
    assert process.stderr.startswith("runs/made/train was made by another recipe:\n  seed: was 0, is 5"), process.stderr


def test_the_launcher_is_killed(home: Path) -> None:
    """Its ranks do not live on."""
    process = start(*OPTIONS, *TWO, "name=orphans", "steps=4000")
    ranks = [rank_of(process, rank, "orphans") for rank in (0, 1)]
    process.kill()
    process.communicate(timeout=60)
    all_end(ranks)
    assert facts("orphans/train")["status"] == "running"


def test_ranks_that_are_not_alike(home: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every difference is named, with the key, before anything is written."""
    shutil.copytree(stand_ins / "shapes", home / "other/shapes")
    others = shapes.records(1, "train", SIZES["train"])
    write_dataset(home / "other/shapes/train", others, {"kind": "other"}, replace=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        said = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = []
    for rank, (data, seed) in enumerate([(stand_ins, 0), (home / "other", 1)]):
        for name, value in {**said, "RANK": str(rank), "LOCAL_RANK": str(rank), "VLTK_DATA": str(data)}.items():
            monkeypatch.setenv(name, value)
        ranks.append(start(*OPTIONS, f"seed={seed}"))
    (_, first), (_, second) = (rank.communicate(timeout=240) for rank in ranks)
    assert [rank.returncode for rank in ranks] == [1, 1] and second == ""
    assert "the ranks are not alike" in first and "recipe of stage train.seed: rank 0 has 0, is 1\n" in first
    assert "data of stage train.shapes/train: rank 0 has" in first and "Traceback" not in first
    assert not Path("runs").exists()


def test_a_world_that_does_not_fit(home: Path) -> None:
    process = vltk_process(*OPTIONS, "--gpus", "3")
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert "streams.pairs.batch_size: 4 cannot be shared equally by 3 processes; 2 or 4 processes" in process.stderr


def test_a_port_in_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        monkeypatch.setenv("MASTER_PORT", str(taken.getsockname()[1]))
        process = vltk_process(*OPTIONS, *TWO)
    assert process.returncode == 1 and "is in use by another program: set MASTER_PORT" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_host_that_cannot_be_reached(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any rank is started; all of them at once."""
    monkeypatch.setenv("VLTK_SSH", "sh -c 'echo ssh: no route to host >&2; exit 255'")
    Path("hosts").write_text("198.51.100.1 slots=1\n198.51.100.2 slots=1\n")
    assert call(*OPTIONS, "--hostfile", "hosts") == 1
    said = capsys.readouterr().err
    for host in ("198.51.100.1", "198.51.100.2"):
        assert (
            f"host {host}: cannot start anything there\n  ssh: no route to host\n  this should print ok: sh -c" in said
        )
    assert not Path("runs").exists()


def test_the_first_rank_is_killed(home: Path) -> None:
    """With the store that the other one asks."""
    process = start(*OPTIONS, *TWO, "name=killed", "steps=4000")
    ranks = [rank_of(process, rank, "killed") for rank in (0, 1)]
    os.kill(ranks[0], signal.SIGKILL)
    all_end(ranks)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 137
    assert complained.startswith("rank 0 on localhost: was ended by signal 9 (SIGKILL)"), complained


def test_a_step_hangs_for_a_while(home: Path) -> None:
    """The rank that had stood still lives again when the first one has ended: the hang is what is told. Not in a
    checkpoint, which may take long."""
    process = start(*OPTIONS, *TWO, "name=hung", "steps=40000", "checkpoint.every=40000", "faults.hang=4")
    ranks = [rank_of(process, rank, "hung", "metrics.jsonl") for rank in (0, 1)]
    os.kill(ranks[1], signal.SIGSTOP)
    while Path(f"/proc/{ranks[0]}").exists():
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.kill(ranks[1], signal.SIGCONT)
    all_end(ranks)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "has not ended" in complained and "within 4 seconds (faults.hang)" in complained, complained


def test_a_frozen_rank_is_told_to_stop(home: Path) -> None:
    """The launcher does not wait for it: all save and end."""
    process = start(*OPTIONS, *TWO, "name=frozen", "steps=4000")
    ranks = [rank_of(process, rank, "frozen") for rank in (0, 1)]
    os.kill(ranks[0], signal.SIGSTOP)
    process.terminate()
    all_end(ranks)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopped and saved" in said, complained
    assert facts("frozen/train")["status"] == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "what"),
    [(0, "cannot be reached any more: dead, frozen or cut off"), (1, "was not heard of for 30 seconds: dead, frozen")],
)
def test_frozen(rank: int, what: str, home: Path) -> None:
    """Known within a minute, with the stack of every rank, that of the frozen one too."""
    process = start(*OPTIONS, *TWO, "name=frozen", "steps=4000")
    ranks = [rank_of(process, rank, "frozen") for rank in (0, 1)]
    os.kill(ranks[rank], signal.SIGSTOP)
    all_end(ranks)
    _, complained = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"rank {rank} on localhost: {what}" in complained and "Traceback" not in complained
    for rank in (0, 1):
        assert "most recent call first" in Path(f"runs/frozen/train/ranks/{rank}.log").read_text()


HANGS = """\
import os, sys, threading, time

def patch():
    while getattr(sys.modules.get("vltk.train.loop"), "run_step", None) is None:
        time.sleep(0.01)
    loop = sys.modules["vltk.train.loop"]
    run_step = loop.run_step
    loop.run_step = lambda *given: time.sleep(1000) if given[4] == 15 else run_step(*given)

if os.environ.get("RANK") == "1":
    threading.Thread(target=patch, daemon=True).start()
"""


@pytest.mark.slow
def test_a_hung_collective_is_cut(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rank never comes to it, though it lives; where each of them stood is in its log."""
    Path("hook").mkdir()
    Path("hook/sitecustomize.py").write_text(HANGS)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{Path('hook').resolve()}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vltk", *OPTIONS, *TWO, "name=hung", "faults.hang=5"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 75
    said = "rank 0 on localhost: step 15 has not ended on any rank within 5 seconds (faults.hang)"
    assert process.stderr.startswith(said), process.stderr
    stuck, waiting = (Path(f"runs/hung/train/ranks/{rank}.log").read_text() for rank in (1, 0))
    assert "sitecustomize.py" in stuck and "most recent call first" in stuck
    assert "sitecustomize.py" not in waiting and "in sum_over_ranks" in waiting


@pytest.mark.slow
def test_torchrun_starts_again(home: Path) -> None:
    """Two agents of one rank each, whose store still holds what the killed ranks had left there."""
    assert vltk_process(*OPTIONS, *TWO, "name=whole").returncode == 0
    with socket.socket() as free:
        free.bind(("", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, "--max-restarts=1", "-m", "vltk", *OPTIONS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    agents = [
        subprocess.Popen(
            [*command, "name=agents"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    os.kill(rank_of(agents[0], None, "agents"), signal.SIGKILL)
    for agent in agents:
        said, _ = agent.communicate(timeout=240)
        assert agent.returncode == 0, said
    assert losses("agents/train") == losses("whole/train") and weights("agents/train") == weights("whole/train")
