"""One writer at a time: the working folder of a data set (`NAME/.part`, `.tokens`, `.fetch`) as its lock."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vltk.errors import VltkError

LOOK = 0.1  # seconds between two tries of one that waits


@contextmanager
def locked(work: Path, wait: float = 0.0) -> Iterator[int]:
    """Holds the folder, made where it is absent; the system lets it go when the process ends.

    Yields the open file that holds it: a child that inherits it holds the folder as long as it lives.
    Raises VltkError where another process still has it after `wait` seconds.
    """
    work.mkdir(parents=True, exist_ok=True)
    handle = os.open(work, os.O_RDONLY)
    until = time.monotonic() + wait
    try:
        while not _taken(handle):
            if time.monotonic() >= until:
                raise VltkError(f"another process is writing the data set {work.parent}: wait for it, or stop it")
            time.sleep(LOOK)
        yield handle
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
