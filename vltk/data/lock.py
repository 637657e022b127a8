"""One writer at a time: the working folder of a data set (`NAME/.part`, `.tokens`, `.fetch`) as its lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vltk.errors import VltkError


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Holds the folder, made where it is absent; the system lets it go when the process ends.

    Raises VltkError while another process has it.
    """
    work.mkdir(parents=True, exist_ok=True)
    handle = os.open(work, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VltkError(f"another process is writing the data set {work.parent}: wait for it, or stop it") from None
        yield
    finally:
        os.close(handle)
