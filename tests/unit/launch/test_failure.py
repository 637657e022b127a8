"""Which of several ends is the cause, and in whose words it is told."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from vltk.launch import failure
from vltk.launch.failure import Failure


def ended(kind: failure.Kind, when: float = 0.0, rank: int = 1) -> Failure:
    return Failure(rank, "worker-1", kind, f"by {kind}", 1, when)


def test_the_cause_is_not_what_came_first() -> None:
    """An error stands before a death, a death before the connections that it broke, whatever the clocks say."""
    echo, lost, dead, crash = (ended(kind, when) for when, kind in enumerate(("echo", "lost", "signal", "crash")))
    assert failure.first([echo, lost, dead, crash]) is crash
    assert failure.first([echo, lost, dead]) is dead
    assert failure.first([echo, lost]) is lost
    assert failure.first([ended("crash", 2), first := Failure(1, "worker-1", "crash", "another", 1, 1)]) is first
    assert failure.first([ended("silent"), lost]) is lost


def test_what_all_say_is_said_by_the_first_rank() -> None:
    """Whose clock may be ahead of those of the others."""
    first = ended("mistake", when=9, rank=0)
    assert failure.first([ended("mistake", when=1, rank=2), ended("mistake", when=2), first]) is first
    assert first.told() == "by mistake"


def test_told() -> None:
    assert ended("crash").told() == "rank 1 on worker-1: by crash"
    assert ended("mistake", rank=0).told() == "by mistake"
    assert ended("mistake").told() == "rank 1 on worker-1: by mistake"
    assert ended("lost", rank=-1).told() == "host worker-1: by lost"


def test_a_rank_that_said_nothing(tmp_path: Path) -> None:
    killed = failure.read(tmp_path, 3, "w", -signal.SIGKILL, 0.0)
    assert (killed.kind, killed.code) == ("signal", 137) and "SIGKILL" in killed.text and "memory" in killed.text
    assert failure.read(tmp_path, 3, "w", 143, 0.0).kind == "stopped"
    (tmp_path / "3.out").write_text("a\nImportError: no torch\n")
    crashed = failure.read(tmp_path, 3, "w", 1, 0.0)
    assert crashed.kind == "silent" and crashed.text == "ended with exit code 1\n  a\n  ImportError: no torch"


def test_a_rank_that_left_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may speak of another one."""
    monkeypatch.setenv(failure.FOLDER, str(tmp_path))
    failure.write(ended("lost", rank=5), rank=3)
    assert failure.read(tmp_path, 3, "w", 75, 0.0) == ended("lost", rank=5)
