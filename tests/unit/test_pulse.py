"""The pulse of two processes: who falls silent or does not end a step is named to both; patience is allowed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from threading import Event
from typing import Any

from tests.processes import in_processes
from vltk import dist, pulse
from vltk.pulse import Verdict


class Listener:
    """Takes the place of the end of the process."""

    def __init__(self) -> None:
        self.heard, self.event = list[Verdict](), Event()

    def __call__(self, verdict: Verdict) -> None:
        self.heard.append(verdict)
        self.event.set()

    def wait(self, seconds: float) -> dict[str, Any] | None:
        return vars(self.heard[0]) if self.event.wait(seconds) else None


def begun(hang: float = 600.0) -> Listener:
    listener = Listener()
    pulse.BEAT, pulse.LOST = 0.1, 2.0
    pulse.start(listener, hang)
    return listener


def one_falls_silent(silent: int) -> list[dict[str, Any] | None]:
    listener = begun()
    own = pulse.own()
    assert own is not None
    if dist.rank() == silent:
        own.stop()
        time.sleep(4)
        return []
    found = [listener.wait(10)]
    if not dist.is_main():
        Path("found").write_text(str(found))
    time.sleep(2)
    return found


def the_first_freezes() -> list[Any]:
    """Its process stands still, with the store in it, and goes on once the other one has had its time."""
    listener = begun()
    if dist.is_main():
        subprocess.Popen(["sh", "-c", f"sleep 8; kill -CONT {os.getpid()}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        Path("found").write_text(str(listener.wait(7)))
    return []


def test_the_first_rank_freezes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    in_processes(2, the_first_freezes, tmp_path)
    assert "rank': 0" in (tmp_path / "found").read_text() and pulse.UNREACHABLE in (tmp_path / "found").read_text()


def test_a_rank_falls_silent(tmp_path: Path) -> None:
    (found,) = in_processes(2, one_falls_silent, tmp_path, 1)
    assert (found["rank"], found["failed"]) == (1, False)
    assert found["text"] == "was not heard of for 2 seconds: dead, frozen or cut off"


def test_the_first_rank_falls_silent(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_processes(2, one_falls_silent, tmp_path, 0) == []
    assert "rank': 0" in (tmp_path / "found").read_text()


def a_step_hangs(behind: int) -> dict[str, Any] | None:
    """Rank 1 is so many steps behind, and neither moves."""
    listener = begun(hang=1.0)
    pulse.step(7 - behind * dist.rank(), 1.0)
    found = listener.wait(10)
    dist.barrier()
    return found


def test_a_step_hangs(tmp_path: Path) -> None:
    found = in_processes(2, a_step_hangs, tmp_path, 1)
    assert found["rank"] == 1 and found["text"].startswith("step 6 has not ended within 1 seconds (faults.hang)")


def test_all_hang_in_the_same_step(tmp_path: Path) -> None:
    """Nobody can say whose fault it is."""
    found = in_processes(2, a_step_hangs, tmp_path, 0)
    assert found["text"].startswith("step 7 has not ended on any rank within 1 seconds (faults.hang)")


def the_first_works_alone() -> list[bool]:
    listener = begun(hang=0.5)
    pulse.step(3, 0.5)
    with pulse.patient():
        if dist.is_main():
            time.sleep(2)
        dist.barrier()
    pulse.rest()
    quiet = listener.wait(1) is None
    dist.barrier()
    pulse.stop()
    return [quiet]


def test_one_works_and_the_others_wait(tmp_path: Path) -> None:
    assert in_processes(2, the_first_works_alone, tmp_path) == [True]


def one_fails() -> dict[str, Any] | None:
    listener = begun()
    own = pulse.own()
    assert own is not None
    if dist.rank() == 1:
        own.fail("no such file", 3)
    found = listener.wait(10) if dist.is_main() else None
    dist.barrier()
    return found


def test_a_rank_says_why_it_ends(tmp_path: Path) -> None:
    found = in_processes(2, one_fails, tmp_path)
    assert (found["rank"], found["text"], found["code"], found["failed"]) == (1, "no such file", 3, True)


def test_alone() -> None:
    """One process has no pulse, and nothing is asked of it."""
    pulse.start(Listener())
    assert pulse.own() is None
    pulse.step(1, 1.0)
    with pulse.patient():
        pulse.rest()
    pulse.stop()
