"""What stands in the way of a start is said in words; what killed launchers left behind is cleared away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from vltk.errors import VltkError
from vltk.launch import ranks, spread
from vltk.launch.failure import Failure
from vltk.launch.hostfile import Host
from vltk.launch.machines import There
from vltk.launch.ranks import Ranks, Share
from vltk.launch.spread import Spread


@pytest.mark.parametrize("said", ["abc", "-1", "70000", "2.5"])
def test_a_port_that_is_none(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", said)
    with pytest.raises(VltkError, match=f"MASTER_PORT={said}: a port is a number up to 65535"):
        Spread([Host("localhost", 1)], ["--version"]).run()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("nosuchcmd -p 22", "cannot run nosuchcmd, which reaches other hosts .No such file or directory.: install"),
        ("ssh -o 'Port=22", "VLTK_SSH=ssh -o 'Port=22: No closing quotation; it is a command with options"),
    ],
)
def test_a_command_that_reaches_nobody(said: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLTK_SSH", said)
    with pytest.raises(VltkError, match=why):
        There(Host("198.51.100.1", 1))


def test_the_wait_for_what_was_cut_off_ends_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what it is."""
    launcher = Spread([Host("worker-1", 1)], [])
    machine = spread.machine(Host("localhost", 1))
    machine.failures.append(Failure(-1, "worker-1", "lost", "gone", 75, 0.0))
    launcher._machines = [machine]
    threading.Timer(0.3, launcher._remember, (signal.SIGINT, None)).start()
    begun = time.monotonic()
    launcher._wait_for_the_lost()
    assert time.monotonic() - begun < 5
    assert "38 seconds until the ranks that were cut off have ended (Ctrl-C: stop here)" in capsys.readouterr().out


def test_what_a_killed_launcher_left_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next start; not what belongs to one that lives, and nothing that was only just made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, young, used = (tmp_path / f"{ranks.PREFIX}{name}" for name in ("left", "young", "used"))
    for folder in (left, young, used):
        folder.mkdir()
        (folder / "1.out").touch()
    for folder in (left, used):
        os.utime(folder, (0, 0))
    hold = ["import fcntl, os, sys", "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)"]
    hold += ["print(flush=True)", "sys.stdin.read()"]
    with subprocess.Popen(
        [sys.executable, "-c", "\n".join(hold), str(used)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline()
        own = Ranks(Share("localhost", 0, 0, 0, "localhost", 1), [], {})
        assert {*tmp_path.iterdir()} == {young, used, own.folder}
        os.utime(own.folder, (0, 0))
        ranks.clear()
        assert own.folder.exists(), "held for as long as it is used"
        other.kill()
    ranks.clear()
    assert not used.exists()
    own.end()
    assert {*tmp_path.iterdir()} == {young}
