"""The benchmark of saving: a window lasts until its checkpoint is written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import saving
from vltk import checkpoint

SLOW = 0.5


def test_a_slow_disk_shows_in_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = checkpoint.write_share

    def slow(*given: Any) -> None:
        time.sleep(SLOW)
        write(*given)

    monkeypatch.setattr(checkpoint, "write_share", slow)
    found = saving.measure(tmp_path, width=32, depth=1, rounds=2, between=2)
    assert len(found["plain"]) == 2 and found["bytes"] > 100_000
    for way in ("asynchronous", "synchronous"):
        assert [len(found[way][what]) for what in ("save", "behind", "window")] == [2, 4, 2]
        assert min(found[way]["window"]) > SLOW
    assert max(found["asynchronous"]["save"]) < SLOW < min(found["synchronous"]["save"])
    assert saving.table(found).count("\n| ") == 3
